#!/usr/bin/env bash
# Builds and tests this source with the LibTorch of another Debian suite, in a chroot that it makes.
#   tools/test_libtorch.sh SUITE [FOLDER [CTEST ARGUMENTS]]
# SUITE: bookworm (1.13), trixie (2.6), forky or sid (2.14).
# FOLDER (default build/chroot-SUITE) keeps the chroot, its ccache and its build, so that a second call is quick.
# Needs root, debootstrap, and the package mirror that this machine uses.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1:?usage: $0 SUITE [FOLDER [CTEST ARGUMENTS]]}
root=$(realpath -m "${2:-build/chroot-$suite}")
[ "$(id -u)" = 0 ] || { echo "Must be root: chroot and mount need it." >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }

if [ ! -x "$root/usr/bin/apt-get" ]; then
  mirror=$(apt-get indextargets --format '$(SITE) $(REPO_URI)' 2>/dev/null | awk '$2 !~ /security/ {print $2; exit}')
  [ -n "$mirror" ] || { echo "No Debian mirror in this machine's apt configuration." >&2; exit 1; }
  script=$suite
  [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=sid  # suites newer than this debootstrap
  mkdir -p "$root"
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" \
    "/usr/share/debootstrap/scripts/$script"
fi

cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
for settings in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf; do
  if [ -f "$settings" ]; then cp "$settings" "$root/etc/apt/apt.conf.d/"; fi
done
# A mirror frozen at some day serves Release files past their date, and testing's are valid for a week only.
echo 'Acquire::Check-Valid-Until "false";' > "$root/etc/apt/apt.conf.d/90frozen-mirror"

# Only files with other contents are replaced, and take today's time: what was built from another branch may be
# younger than this branch's files. Files that are gone must go there too, since CMake globs them.
source=$root/edgecompress
mkdir -p "$source"
git ls-files -z --cached --others --exclude-standard --deduplicate |
  while IFS= read -r -d '' file; do
    [ -e "$file" ] || continue
    mkdir -p "$source/$(dirname "$file")"
    cmp --silent "$file" "$source/$file" || cp --preserve=mode "$file" "$source/$file"
  done
find "$source" -path "$source/build" -prune -o -type f -printf '%P\0' |
  while IFS= read -r -d '' file; do if [ ! -e "$file" ]; then rm "$source/$file"; fi; done

# In a mount namespace of its own nothing stays mounted, however this ends.
environment=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)
for variable in http_proxy https_proxy no_proxy; do
  if [ -n "${!variable-}" ]; then environment+=("$variable=${!variable}"); fi
done
exec unshare --mount bash -c '
  root=$1; shift
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  exec chroot "$root" "$@"' bash "$root" /usr/bin/env -i "${environment[@]}" \
  bash -c 'cd /edgecompress && exec tools/test.sh "$@"' bash "${@:3}"
