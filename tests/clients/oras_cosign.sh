#!/usr/bin/env bash
# oras and cosign, from a Debian trixie root: push, pull, attach, discover; sign and verify with a key.
. "$(dirname "$0")/common.sh"
ROOT=$CACHE/trixie
[ -x "$ROOT/usr/bin/oras" ] || skip "the trixie root with oras is not there"
own_namespace mounts
serve main
seed single team/app:v1
serve_name=$TLS
mount --bind "$ROOT" "$ROOT" && mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" || skip "this machine forbids mounts"
mount -t tmpfs tmpfs "$ROOT/mnt" && cp "$CA" "$ROOT/mnt/ca.crt" && touch "$ROOT/mnt/hosts" || fail "the root cannot be prepared"
mount --bind "$WORK/hosts" "$ROOT/etc/hosts" 2>/dev/null || cp "$WORK/hosts" "$ROOT/etc/hosts"
inside() {
  chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt COSIGN_PASSWORD= SSL_CERT_FILE=/mnt/ca.crt \
    sh -c "cd /mnt && $1"
}
O="oras" R=$serve_name/art/demo
refused "oras: login with a wrong password" inside "echo wrong | $O login -u $ADMIN --password-stdin $serve_name"
check "oras: login" inside "echo $PASSWORD | $O login -u $ADMIN --password-stdin $serve_name"
check "oras: push" inside "echo hello >f && $O push --artifact-type application/vnd.example.thing $R:v1 f:text/plain"
check "oras: pull" inside "mkdir -p out && $O pull -o out $R:v1 && cmp f out/f"
check "oras: attach" inside "$O attach --artifact-type application/vnd.example.sbom $R:v1 f:text/plain"
check "oras: discover" inside "$O discover $R:v1 | grep -q vnd.example.sbom"
check "oras: tags" inside "$O repo tags $R | grep -qx v1"
check "oras: copy with referrers" inside "$O cp -r $R:v1 $serve_name/art/copy:v1 && $O discover $serve_name/art/copy:v1 | grep -q vnd.example.sbom"
check "oras: delete a manifest" inside "$O manifest delete -f $serve_name/art/copy:v1"
[ -x "$ROOT/usr/bin/cosign" ] || skip "cosign is not in the trixie root"
I=$serve_name/team/app:v1
check "cosign: key" inside "cosign generate-key-pair"
check "cosign: sign" inside "cosign sign --key cosign.key --tlog-upload=false -y $I"
check "cosign: verify" inside "cosign verify --key cosign.pub --insecure-ignore-tlog=true $I"
check "cosign: tree" inside "cosign tree $I"
check "cosign: copy" inside "cosign copy $I $serve_name/team/signed:v1 && cosign verify --key cosign.pub --insecure-ignore-tlog=true $serve_name/team/signed:v1"
serve second
check "the signature comes with a mirror" bash -c "'$DRYPORT' mirror --data '$WORK/second' --ca '$WORK/main.ca.crt' docker://$I --to copies/app"
check "its tag is there" bash -c "curl -fsS --noproxy '*' http://$HTTP/v2/copies/app/tags/list | grep -q '\.sig'"
