#!/usr/bin/env bash
# From a bare Debian to a compressed network and its report: installs what is missing, builds, makes
# the demonstration network and runs configs/quickstart.json over it. Safe to run again.
#   tools/quickstart.sh [--no-install]
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install.sh "$@"
mkdir -p build
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
echo "Building edgecompress in build/release: about two minutes on two cores"
NINJA_STATUS="[%f/%t, %e s] " cmake --build --preset release

edgecompress=build/release/edgecompress
"$edgecompress" demo --output out/demo --overwrite
"$edgecompress" run configs/quickstart.json --model out/demo/model.pt --output out/quickstart --overwrite
