#!/usr/bin/env bash
# Installs the Debian packages that edgecompress needs and that are missing, and says which.
#   tools/install.sh [--test] [--no-install]
# --test        also what only the tests need (GoogleTest, valijson, stock PyTorch as the oracle, Slurm)
# --no-install  only say what is missing
set -euo pipefail

build_packages=(g++ cmake ninja-build ccache pkg-config libtorch-dev libcli11-dev libspdlog-dev libfmt-dev
  nlohmann-json3-dev nettle-dev libzip-dev zlib1g-dev libturbojpeg0-dev libspng-dev
  libopenblas0-pthread)  # without it LibTorch brings the reference BLAS, tens of times slower
test_packages=(libgtest-dev libgmock-dev libvalijson-dev python3-torch python3-torchvision python3-numpy
  python3-brotli slurm-wlm munge)

packages=("${build_packages[@]}")
may_install=true
for argument in "$@"; do
  case "$argument" in
    --test) packages+=("${test_packages[@]}") ;;
    --no-install) may_install=false ;;
    *) echo "usage: $0 [--test] [--no-install]" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Missing Debian packages: ${missing[*]}"
if ! $may_install; then
  echo "Not installed (--no-install)." >&2
  exit 0
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "Run as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing them."
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
