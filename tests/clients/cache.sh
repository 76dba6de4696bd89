#!/usr/bin/env bash
# The pull-through cache before distribution v3 with accounts and TLS: skopeo, crane, podman and containerd pull through it, and
# go on pulling when the upstream is gone.
. "$(dirname "$0")/common.sh"
tool=$(missing skopeo htpasswd openssl) && skip "$tool is not installed"
[ -x "$CACHE/bin/registry" ] || skip "distribution v3 is not installed"
own_namespace
serve main
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$HOST" -addext "subjectAltName=DNS:$HOST" \
  -keyout up.key -out up.pem 2>/dev/null || fail "openssl cannot make certificates"
htpasswd -Bbn up secret-of-up >htpasswd
echo up:secret-of-up >login; chmod 600 login
port=$(free_port) UP=
cat >up.yml <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $WORK/up}}
http: {addr: "127.0.0.1:$port", tls: {certificate: $WORK/up.pem, key: $WORK/up.key}}
auth: {htpasswd: {realm: up, path: $WORK/htpasswd}}
END
OTEL_TRACES_EXPORTER=none "$CACHE/bin/registry" serve up.yml >up.log 2>&1 & UPSTREAM=$! UP=$HOST:$port
PIDS+=($UPSTREAM)
comes $UPSTREAM bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" || fail "distribution does not start: $(tail -n 2 up.log | tr '\n' ' ')"
for image in multi:library/thing:1 single:team/app:v1 multi:team/other:v1; do
  IFS=: read -r from name tag <<<"$image"
  skopeo --insecure-policy copy -q --all --dest-tls-verify=false --dest-creds up:secret-of-up "oci:$CONTENT:$from" "docker://$UP/$name:$tag" ||
    fail "the upstream takes no image"
done
D() { "$DRYPORT" "$@" --data "$DATA"; }
check "upstream add" D upstream add hub --url "https://$UP" --prefix docker.io --default --ns docker.io --library-prefix on --ca up.pem --creds-from "$WORK/login"
check "upstream test" D upstream test hub
S="skopeo --insecure-policy copy -q --src-cert-dir $CERTS"
check "skopeo pulls all platforms" $S --all "docker://$TLS/docker.io/library/thing:1" "oci:$WORK/out:thing"
check "the digest is the same" same "$(digest_of docker.io/library/thing 1)" "$(layout_digest multi)"
check "skopeo pulls a bare name" $S "docker://$TLS/team/app:v1" "oci:$WORK/out:app"
check "skopeo lists tags" bash -c "skopeo list-tags --cert-dir $CERTS docker://$TLS/docker.io/team/app | grep -q v1"
refused "what is nowhere" $S "docker://$TLS/docker.io/team/none:v1" "oci:$WORK/out:none"
if [ -x "$CACHE/bin/crane" ]; then
  check "crane pulls" env SSL_CERT_FILE="$CA" "$CACHE/bin/crane" pull "$TLS/docker.io/team/app:v1" app.tar
fi
if [ -z "$(missing podman)" ]; then
  P="podman --root $WORK/podman --runroot $WORK/podman-run --storage-driver vfs"
  check "podman pulls" $P pull -q --cert-dir "$CERTS" "$TLS/docker.io/team/app:v1"
fi
# containerd keeps its sockets in /run.
if [ -z "$(missing containerd ctr)" ] && mount -t tmpfs tmpfs /run 2>/dev/null; then
  printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n' \
    "$WORK/ctrd/root" "$WORK/ctrd/state" "$WORK/ctrd/c.sock" >ctrd.toml
  mkdir -p ctrd hosts.d/docker.io
  containerd -c ctrd.toml >ctrd.log 2>&1 & PIDS+=($!)
  comes $! [ -S ctrd/c.sock ]
  printf 'server = "https://docker.invalid"\n[host."https://%s"]\n  capabilities = ["pull", "resolve"]\n  ca = "%s"\n' "$TLS" "$CA" >hosts.d/docker.io/hosts.toml
  check "containerd pulls through hosts.toml" ctr -a "$WORK/ctrd/c.sock" -n test images pull --snapshotter native --hosts-dir "$WORK/hosts.d" docker.io/team/other:v1
fi
kill $UPSTREAM; wait $UPSTREAM 2>/dev/null
check "upstream set" D upstream set hub --freshness 0s
check "pull without the upstream" $S --all "docker://$TLS/docker.io/library/thing:1" "oci:$WORK/again:thing"
check "the answer says so" bash -c "curl -fsSI --noproxy '*' http://$HTTP/v2/docker.io/team/app/manifests/v1 | grep -qi '^warning: 299'"
refused "what is not here" $S "docker://$TLS/docker.io/team/more:v1" "oci:$WORK/again:more"
check "check --deep finds nothing" D check --deep
