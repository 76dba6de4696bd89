#!/usr/bin/env bash
# A file that keeps room on a disk (fallocate), asked for that same room again when the disk is full.
#
# Guess:  fallocate over a range that the file already has changes nothing and needs nothing, so it tells on any file system
#         whether a reserve file is whole: a start asks for it again and sees.
# Seen:   ext4 says yes. XFS refuses with ENOSPC, because it wants as much free as the range is long before it looks what is
#         missing; the file keeps all its blocks. Who asks so on a full XFS takes a whole reserve for lost. st_blocks says on
#         both whether the room is there.
# With:   Debian 12: xfsprogs 6.1.0 and e2fsprogs 1.47.0 (unpacked, not installed), fallocate of util-linux 2.38.1; Linux 6.18.
#         Needs root and loop devices.
# Output: ext4: yes, 65536 blocks; xfs: No space left on device, 65536 blocks.
set -euo pipefail
dir=$(mktemp -d)
finish() {
  for kind in xfs ext4; do umount "$dir/$kind" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT
cd "$dir"
for pin in xfsprogs=6.1.0-1 e2fsprogs=1.47.0-2 util-linux=2.38.1-5+deb12u; do
  name=${pin%%=*}
  version=$(apt-cache madison "$name" | awk -F ' *[|] *' 'NR == 1 {print $2}')
  [[ $version == "${pin#*=}"* ]] || { echo "FAIL: $name is $version, pinned ${pin#*=}*"; exit 1; }
  apt-get download -q -o APT::Sandbox::User=root "$name=$version" >/dev/null 2>&1
  dpkg -x "$name"_*.deb root
done
export PATH=$dir/root/sbin:$dir/root/usr/sbin:$dir/root/usr/bin:$PATH
for kind in ext4 xfs; do
  truncate -s 320M "$kind.image" && mkdir "$kind"
  [ "$kind" = xfs ] && mkfs.xfs -q "$kind.image" || mkfs.ext4 -q -m 0 "$kind.image"
  mount -o loop "$kind.image" "$kind"
  fallocate -l 32M "$kind/reserve"
  before=$(stat -c %b "$kind/reserve")
  # Ends where nothing is left: that is what it is for.
  dd if=/dev/zero of="$kind/rest" bs=1M 2>/dev/null || true
  dd if=/dev/zero of="$kind/crumbs" bs=4k 2>/dev/null || true
  said=$(fallocate -l 32M "$kind/reserve" 2>&1) && said=yes
  echo "$kind: ${said##*: }, $before blocks before, $(stat -c %b "$kind/reserve") after"
  [ "$(stat -c %b "$kind/reserve")" = "$before" ] || { echo "FAIL: the file's blocks changed"; exit 1; }
  case $kind in
    ext4) expected=yes ;;
    xfs) expected='No space left on device' ;;
  esac
  [ "${said##*: }" = "$expected" ] || { echo "FAIL: expected '$expected'"; exit 1; }
done
echo "as found"
