#!/usr/bin/env bash
# Runs one fuzzer: tests/fuzz/run.sh READER [SECONDS]. The corpus grows in build/fuzz/corpus/READER; what is found is
# written to build/fuzz/found/READER, and it ends with the number of executions.
set -euo pipefail
cd "$(dirname "$0")/../.."
reader=$1
seconds=${2:-600}
fuzzer=build/fuzz/fuzz_$reader
if [[ ! -x $fuzzer ]]; then
  echo "build it first: cmake --preset fuzz && cmake --build --preset fuzz --target fuzz_$reader" >&2
  exit 2
fi
[[ -d build/fuzz/seeds/$reader ]] || python3 tests/fuzz/make_seeds.py build/fuzz/seeds
mkdir -p "build/fuzz/corpus/$reader" "build/fuzz/found/$reader"

# LibTorch is not compiled with the sanitizers: containers that it shares with us look overflown.
export ASAN_OPTIONS=detect_container_overflow=0:new_delete_type_mismatch=0:detect_leaks=0:allocator_may_return_null=1
export OMP_NUM_THREADS=1
options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=16384
         -print_final_stats=1 -artifact_prefix="build/fuzz/found/$reader/")
[[ -f tests/fuzz/$reader.dict ]] && options+=(-dict="tests/fuzz/$reader.dict")
kept=tests/fuzz/corpus/$reader
mkdir -p "$kept"
exec "$fuzzer" "${options[@]}" "build/fuzz/corpus/$reader" "build/fuzz/seeds/$reader" "$kept"
