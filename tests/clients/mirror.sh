#!/usr/bin/env bash
# dryport mirror from Debian's docker-registry and from distribution v3, with and without accounts.
. "$(dirname "$0")/common.sh"
tool=$(missing skopeo jq htpasswd openssl) && skip "$tool is not installed"
own_namespace
serve main
make_certs() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=test CA" -keyout ca.key -out up-ca.pem 2>/dev/null &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$HOST" -keyout leaf.key -out leaf.csr 2>/dev/null &&
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\n' $HOST >leaf.ext &&
    openssl x509 -req -in leaf.csr -CA up-ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile leaf.ext -out leaf.pem 2>/dev/null
}
make_certs || fail "openssl cannot make certificates"
htpasswd -Bbn up secret-of-up >htpasswd

upstream() { # NAME BINARY OPEN|AUTH; sets UP (host:port)
  local port; port=$(free_port)
  {
    printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n'
    printf 'storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n' "$WORK/up-$1"
    if [ "$3" = AUTH ]; then
      printf 'http: {addr: "127.0.0.1:%s", tls: {certificate: %s, key: %s}}\n' "$port" "$WORK/leaf.pem" "$WORK/leaf.key"
      printf 'auth: {htpasswd: {realm: up, path: %s}}\n' "$WORK/htpasswd"
    else
      printf 'http: {addr: "127.0.0.1:%s"}\n' "$port"
    fi
  } >"$1.yml"
  OTEL_TRACES_EXPORTER=none "$2" serve "$1.yml" >"$1.log" 2>&1 & PIDS+=($!)
  UP=127.0.0.1:$port; [ "$3" = AUTH ] && UP=$HOST:$port
  comes $! bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" && return
  fail "$1 does not start: $(tail -n 2 "$1.log" | tr '\n' ' ')"
}
push_up() { # ARGS...
  local tag
  for tag in multi single artifact; do
    skopeo --insecure-policy copy -q --all --dest-tls-verify=false "$@" "oci:$CONTENT:$tag" "docker://$UP/team/app:$tag" || return 1
  done
  skopeo --insecure-policy copy -q --dest-tls-verify=false "$@" "dir:$CONTENT.schema2" "docker://$UP/team/schema2:v1"
}
M() { "$DRYPORT" mirror --data "$WORK/main" "$@"; }

for peer in "docker-registry $(command -v docker-registry)" "distribution-v3 $CACHE/bin/registry"; do
  set -- $peer
  [ -x "${2:-}" ] || { echo "SKIP $NAME: $1 is not installed"; continue; }
  upstream "$1-open" "$2" OPEN
  check "$1: fill" push_up
  check "$1: mirror" M "docker://$UP/team/app:multi" --to "$1/app"
  check "$1: the digest is the same" same "$(digest_of "$1/app" multi)" "$(layout_digest multi)"
  check "$1: again" M "docker://$UP/team/app:multi" --to "$1/app"
  check "$1: schema 2" M "docker://$UP/team/schema2:v1" --to "$1/schema2"
  check "$1: by digest" M "docker://$UP/team/app@$(layout_digest single)" --to "$1/single"
  check "$1: default name" M "docker://$UP/team/app:single"
  check "$1: is it there" curl -fsS --noproxy '*' -o /dev/null "http://$HTTP/v2/${UP/:/-}/team/app/manifests/single"
  refused "$1: a tag that is not there" M "docker://$UP/team/app:none" --to "$1/none"
  check "$1: pull of the mirror" skopeo --insecure-policy copy -q --all --src-cert-dir "$CERTS" "docker://$TLS/$1/app:multi" "oci:$WORK/out-$1:multi"

  upstream "$1-auth" "$2" AUTH
  check "$1 with accounts: fill" push_up --dest-creds up:secret-of-up
  refused "$1 with accounts: no credentials" M --ca up-ca.pem "docker://$UP/team/app:multi" --to "$1/closed"
  jq -n --arg h "$UP" --arg a "$(printf up:secret-of-up | base64)" '{auths: {($h): {auth: $a}}}' >"$DOCKER_CONFIG/config.json"
  refused "$1 with accounts: without its CA" M "docker://$UP/team/app:multi" --to "$1/closed"
  check "$1 with accounts: mirror" M --ca up-ca.pem "docker://$UP/team/app:multi" --to "$1/closed"
  check "$1 with accounts: the digest is the same" same "$(digest_of "$1/closed" multi)" "$(layout_digest multi)"
  echo '{}' >"$DOCKER_CONFIG/config.json"
done
refused "credentials in the data directory or the log" grep -rqsF -e secret-of-up -e "$(printf up:secret-of-up | base64)" "$WORK/main" "$WORK/main.log"
refused "a push into a mirror repository" seed single docker-registry/app:v9
