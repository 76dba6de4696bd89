#!/usr/bin/env bash
# A site signs what it mirrored, with cosign and oras of a Debian trixie root: mirror, sign, verify, mirror again, verify.
. "$(dirname "$0")/common.sh"
ROOT=$CACHE/trixie
{ [ -x "$ROOT/usr/bin/oras" ] && [ -x "$ROOT/usr/bin/cosign" ]; } || skip "the trixie root with oras and cosign is not there"
own_namespace mounts
serve upstream
UP=$HTTP UP_TLS=$TLS UP_CA=$CA
seed single team/app:v1
DIGEST=$(digest_of team/app v1)
serve main
mount --bind "$ROOT" "$ROOT" && mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" || skip "this machine forbids mounts"
mount -t tmpfs tmpfs "$ROOT/mnt" && cat "$CA" "$UP_CA" >"$ROOT/mnt/ca.crt" || fail "the root cannot be prepared"
mount --bind "$WORK/hosts" "$ROOT/etc/hosts" 2>/dev/null || cp "$WORK/hosts" "$ROOT/etc/hosts"
inside() {
  chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt COSIGN_PASSWORD= SSL_CERT_FILE=/mnt/ca.crt \
    sh -c "cd /mnt && $1"
}
for_both() { inside "echo $PASSWORD | oras login -u $ADMIN --password-stdin $TLS && echo $PASSWORD | oras login -u $ADMIN --password-stdin $UP_TLS"; }
M() { "$DRYPORT" mirror --data "$DATA" --allow-missing-evidence "docker://$UP/team/app:v1" --to copies/app "$@"; }
I=$TLS/copies/app
TAG=$(echo "$DIGEST" | tr : -)
sign() { inside "cosign sign --key $1.key --tlog-upload=false -y $2@$DIGEST"; }
verify() { inside "cosign verify --key $1.pub --insecure-ignore-tlog=true $2@$DIGEST"; }
again() { M >again.log 2>&1; }
both() { verify ours "$I" && verify theirs "$I"; }
check "login" for_both
check "keys" inside "cosign generate-key-pair --output-key-prefix ours && cosign generate-key-pair --output-key-prefix theirs"
check "mirror" M
refused "verify without a signature" verify ours "$I"
check "cosign: sign what was mirrored" sign ours "$I"
check "cosign: verify" verify ours "$I"
check "cosign: attest" inside "echo '{}' >predicate && cosign attest --key ours.key --tlog-upload=false -y --predicate predicate $I@$DIGEST"
check "oras: attach" inside "echo report >report && oras attach --artifact-type application/vnd.example.report $I@$DIGEST report:text/plain"
# With the tag that lists referrers, as notation keeps it: a new list each time, and the old one deleted.
LISTED="--distribution-spec v1.1-referrers-tag"
for n in 1 2 3; do
  check "oras: attach and list, $n" inside "echo $n >note && oras attach $LISTED --artifact-type application/vnd.example.note$n $I@$DIGEST note:text/plain"
done
listed() { [ "$(inside "oras discover $1 --format json $I@$DIGEST" | jq '(.manifests // .referrers) | length')" = "$2" ]; }
check "oras: discover by the tag" listed "$LISTED" 3
check "oras: discover by the API" listed "" 4
refused "a push of an image" seed single copies/app:v9
refused "oras: a tag of its own" inside "oras tag $I:v1 mine"

# The other registry signs too, by now.
check "cosign: sign at the source" sign theirs "$UP_TLS/team/app"
check "mirror again" again
check "the run names the tag that stays" grep -q "$TAG.sig was moved here" again.log
check "cosign: verify again" verify ours "$I"
check "oras: discover again" listed "" 4
refused "the other's signature is not among ours" verify theirs "$I"
check "after a collection" "$DRYPORT" gc --data "$DATA" --purge-history
check "cosign: verify after it" verify ours "$I"
# Deleted here, the other's comes with the next run; who signs on top of it has both.
check "oras: delete the signature" inside "oras manifest delete -f $I:$TAG.sig"
check "mirror a third time" M
check "cosign: verify theirs" verify theirs "$I"
check "cosign: sign on top" sign ours "$I"
check "cosign: both are there" both
check "mirror a fourth time" M
check "cosign: both are still there" both
"$DRYPORT" repo set copies/app --attachments off --data "$DATA" >/dev/null || fail "repo set"
refused "oras: attach where that is off" inside "oras attach --artifact-type application/vnd.example.late $I@$DIGEST note:text/plain"
refused "cosign: attest where that is off" inside "echo '{}' >late && cosign attest --key theirs.key --tlog-upload=false -y --predicate late $I@$DIGEST"
check "cosign: verify where that is off" verify ours "$I"
check "dryport check" "$DRYPORT" check --data "$DATA" --deep --fast
