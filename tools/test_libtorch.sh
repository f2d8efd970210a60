#!/usr/bin/env bash
# Builds and tests this source with the LibTorch of another Debian suite, in a chroot that it makes.
#   tools/test_libtorch.sh SUITE [FOLDER]      SUITE: bookworm (1.13), trixie (2.6), forky or sid (2.14)
# FOLDER (default build/chroot-SUITE) keeps the chroot and its build, so that a second call is quick.
# Needs root, debootstrap, and the package mirror that this machine uses.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1:?usage: $0 SUITE [FOLDER]}
root=$(realpath -m "${2:-build/chroot-$suite}")
[ "$(id -u)" = 0 ] || { echo "Must be root: chroot and mount need it." >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }

mirror=$(apt-get indextargets --format '$(SITE) $(REPO_URI)' 2>/dev/null | awk '$2 !~ /security/ {print $2; exit}')
[ -n "$mirror" ] || { echo "No Debian mirror in this machine's apt configuration." >&2; exit 1; }

if [ ! -x "$root/usr/bin/apt-get" ]; then
  script=$suite
  [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=sid  # suites newer than this debootstrap
  mkdir -p "$root"
  debootstrap --variant=minbase "$suite" "$root" "$mirror" "/usr/share/debootstrap/scripts/$script"
fi

unmount() { for point in dev proc; do umount -l "$root/$point" 2>/dev/null || true; done; }
trap unmount EXIT
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev" || mount --rbind /dev "$root/dev"

cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
for settings in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf; do
  if [ -f "$settings" ]; then cp "$settings" "$root/etc/apt/apt.conf.d/"; fi
done

mkdir -p "$root/edgecompress"
git ls-files -z | tar --null --files-from=- -cf - | tar -xf - -C "$root/edgecompress"
chroot "$root" /usr/bin/env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
  bash -c 'cd /edgecompress && tools/test.sh'
