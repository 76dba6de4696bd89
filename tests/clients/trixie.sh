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

# Layers of zstd:chunked, of which containers/storage takes the parts that it lacks: many ranges in one request.
inside 'cat >storage.conf' <<END
[storage]
driver = "overlay"
graphroot = "/mnt/storage"
runroot = "/run/storage"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}
END
INTO="CONTAINERS_STORAGE_CONF=storage.conf $S --debug copy --src-cert-dir certs"
for tag in half other; do
  check "skopeo: push $tag as zstd:chunked" inside "$S copy -q --authfile auth.json --dest-cert-dir certs --dest-compress-format zstd:chunked oci:content:$tag docker://$T/parts:$tag"
done
check "skopeo: pull into its storage" inside "$INTO docker://$T/parts:half containers-storage:parts:half"
# On some machines these clients fail now and then in their own copy of the files that another layer has (openat2 below their own
# root finds no folder), also against older builds of this server. What they took is compared with what was pushed below.
often() {
  local _
  for _ in $(seq 20); do
    "$@" >"$WORK/try.log" 2>&1 && { cat "$WORK/try.log"; return; }
    grep -q 'under the rootfs: openat2' "$WORK/try.log" || break
  done
  cat "$WORK/try.log"
  return 1
}
check "skopeo: pull what it has half of" often inside "$INTO docker://$T/parts:other containers-storage:parts:other"
if ! grep -q 'Applying differ' "$WORK/step.log"; then
  echo "FAIL $NAME: no layer was taken in part"; FAILED=1
fi
# Of the access log: the bytes of each part-wise answer for a layer.
part_wise() { grep '"status":206' "$DATA.log" | grep -o '"bytes_out":[0-9]*' | cut -d: -f2; }
check "skopeo: it was answered in parts" sh -c "[ $(part_wise | wc -l) -ge 4 ]"
check "skopeo: it took half of the layer" sh -c "[ $(part_wise | tail -n 1) -lt 4000000 ]"
check "skopeo: lay out what it took" inside "$INTO --dest-decompress containers-storage:parts:other dir:parts"
layer_of() { jq -r '.layers[0].digest' "$ROOT/mnt/parts/manifest.json"; }
plain_layer() { gzip -dc "$CONTENT/blobs/sha256/$(jq -r '.layers[0].digest' "$CONTENT/blobs/sha256/$(layout_digest other | cut -c8-)" | cut -c8-)" | sha256sum | cut -d' ' -f1; }
check "skopeo: what it took is whole" same "$(layer_of)" "sha256:$(plain_layer)"

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
PARTS="CONTAINERS_STORAGE_CONF=pods.conf podman --cgroup-manager cgroupfs --events-backend file"
inside "sed 's#/mnt/storage#/mnt/pods#; s#/run/storage#/run/pods#' storage.conf >pods.conf"
check "podman: pull what it has nothing of" inside "$PARTS pull -q $D $T/parts:half"
check "podman: pull what it has half of" often inside "$PARTS --log-level debug pull $D $T/parts:other >pull.log 2>&1; done=\$?; cat pull.log; [ \$done = 0 ] && grep -q 'Retrieved partial blob' pull.log"
check "podman: search" inside "$P search $D $T/ | grep -q team/pod"
check "podman: artifact" inside "echo hello >f && $P artifact add $T/art:v1 f && $P artifact push -q $D --authfile pod.json $T/art:v1 && $P artifact rm $T/art:v1 && $P artifact pull -q $D $T/art:v1"
