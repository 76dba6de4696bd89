#!/usr/bin/env bash
# skopeo and podman of Debian trixie, newer than those of the machine, in a root of their own.
. "$(dirname "$0")/common.sh"
ROOT=$CACHE/trixie
{ [ -x "$ROOT/usr/bin/skopeo" ] && [ -x "$ROOT/usr/bin/podman" ]; } || skip "the trixie root with skopeo and podman is not there"
own_namespace mounts
serve main
mount --bind "$ROOT" "$ROOT" && mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" &&
  mount --rbind /sys "$ROOT/sys" && mount -t tmpfs tmpfs "$ROOT/run" && mount -t tmpfs tmpfs "$ROOT/mnt" ||
  skip "this machine forbids mounts"
mkdir "$ROOT/mnt/old" "$ROOT/mnt/certs" "$ROOT/mnt/content" && cp "$CA" "$ROOT/mnt/certs/ca.crt" &&
  mount --bind "$CONTENT" "$ROOT/mnt/content" || fail "the root cannot be prepared"
mount --bind "$WORK/hosts" "$ROOT/etc/hosts" 2>/dev/null || cp "$WORK/hosts" "$ROOT/etc/hosts"
# podman makes mounts of its own, which a chroot forbids: the root becomes / in a namespace of each command.
inside() {
  unshare -m bash -c 'cd "$1" && pivot_root . mnt/old && umount -l /mnt/old && cd /mnt &&
    exec /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt sh -c "$2"' sh "$ROOT" "$1"
}
inside true 2>"$WORK/pivot" || skip "this machine forbids pivot_root: $(tail -n 1 "$WORK/pivot")"
T=$TLS/team S="skopeo --insecure-policy" D="--cert-dir certs"
LOGIN="--authfile auth.json -u $ADMIN --password-stdin"
echo "== $(inside 'skopeo --version; podman --version' | tr '\n' ' ')"
refused "skopeo: login with a wrong password" inside "echo wrong | skopeo login $D $LOGIN $TLS"
check "skopeo: login" inside "echo $PASSWORD | skopeo login $D $LOGIN $TLS"
for tag in multi single empty; do
  check "skopeo: push $tag" inside "$S copy -q --all --preserve-digests --authfile auth.json --dest-cert-dir certs oci:content:$tag docker://$T/app:$tag"
  check "skopeo: the digest of $tag" same "$(digest_of team/app $tag)" "$(layout_digest $tag)"
done
check "skopeo: pull" inside "$S copy -q --all --src-cert-dir certs docker://$T/app:multi oci:out:multi"
check "skopeo: registry to registry" inside "$S copy -q --all --authfile auth.json --src-cert-dir certs --dest-cert-dir certs docker://$T/app:multi docker://$T/again:multi"
check "skopeo: inspect" inside "$S inspect $D docker://$T/app:single | grep -q $(layout_digest single)"
check "skopeo: list-tags" inside "$S list-tags $D docker://$T/app | grep -q single"
refused "skopeo: push without credentials" inside "$S copy -q --authfile none.json --dest-cert-dir certs oci:content:single docker://$T/anon:v1"
check "skopeo: delete" inside "$S delete $D --authfile auth.json docker://$T/again:multi"

P="podman --root /mnt/root --runroot /run/podman --storage-driver vfs --cgroup-manager cgroupfs --events-backend file"
if ! inside "$P info" >"$WORK/info" 2>&1; then
  skip "podman does not run in the root: $(tail -n 1 "$WORK/info")"
fi
refused "podman: login with a wrong password" inside "echo wrong | $P login $D --authfile pod.json -u $ADMIN --password-stdin $TLS"
check "podman: login" inside "echo $PASSWORD | $P login $D --authfile pod.json -u $ADMIN --password-stdin $TLS"
check "podman: pull" inside "$P pull -q $D $T/app:single"
check "podman: push" inside "$P push -q $D --authfile pod.json $T/app:single $T/pod:v1"
check "podman: push with zstd:chunked" inside "$P push -q $D --authfile pod.json --compression-format zstd:chunked --force-compression $T/app:single $T/pod:zstd"
refused "podman: push without login" inside "$P push -q $D --authfile none.json $T/app:single $T/pod:v2"
inside "$P rmi -af" >/dev/null 2>&1
check "podman: pull what was pushed" inside "$P pull -q $D $T/pod:v1 && $P pull -q $D $T/pod:zstd"
check "podman: search" inside "$P search $D $T/ | grep -q team/pod"
check "podman: artifact" inside "echo hello >f && $P artifact add $T/art:v1 f && $P artifact push -q $D --authfile pod.json $T/art:v1 && $P artifact rm $T/art:v1 && $P artifact pull -q $D $T/art:v1"
