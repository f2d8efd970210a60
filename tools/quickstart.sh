#!/usr/bin/env bash
# From a bare Debian to a compressed network and its report: installs what is missing, builds, makes
# the demonstration network and runs configs/quickstart.json over it. Safe to run again.
#   tools/quickstart.sh [--no-install]
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install.sh "$@"
[ -f build/release/build.ninja ] || cmake --preset release >build-release.log 2>&1 || { cat build-release.log; exit 1; }
rm -f build-release.log
echo "Building edgecompress (build/release)"
cmake --build --preset release -- --quiet

edgecompress=build/release/edgecompress
"$edgecompress" demo --output out/demo --overwrite
"$edgecompress" run configs/quickstart.json --model out/demo/model.pt --output out/quickstart --overwrite
