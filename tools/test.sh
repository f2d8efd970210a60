#!/usr/bin/env bash
# Installs what is missing, builds and passes the tests. Safe to run again.
#   tools/test.sh [--no-install] [--preset dev|asan] [ctest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

preset=dev
install=(--test)
while [ $# -gt 0 ]; do
  case "$1" in
    --no-install) install+=(--no-install); shift ;;
    --preset) preset=$2; shift 2 ;;
    *) break ;;
  esac
done

tools/install.sh "${install[@]}"
cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" --parallel 2 "$@"
