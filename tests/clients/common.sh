# Shared by the client scripts; sourced. Each script sets NAME and calls `check TEXT COMMAND...` a few times.
# The runner gives: DRYPORT (the binary), CACHE (tools), CONTENT (an OCI layout), WORK (a scratch folder, ours alone).
set -u
umask 022

# The caller's certificates, proxies and registries must not leak into a client that we test.
unset SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO \
  http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY \
  DOCKER_HOST DOCKER_CONFIG DOCKER_CONTEXT REGISTRY_AUTH_FILE CONTAINERS_REGISTRIES_CONF XDG_RUNTIME_DIR
for variable in $(env | sed -n 's/^\(DRYPORT_[A-Z_]*\)=.*/\1/p'); do unset "$variable"; done

ADMIN=ci PASSWORD=s3cret-of-ci HOST=registry.test
NAME=$(basename "$0" .sh)
PIDS=() FAILED=0
mkdir -p "$WORK"; cd "$WORK" || exit 1
export HOME="$WORK/home" DOCKER_CONFIG="$WORK/docker" XDG_RUNTIME_DIR="$WORK/run" XDG_DATA_HOME="$WORK/share"
mkdir -p "$HOME" "$DOCKER_CONFIG" "$XDG_RUNTIME_DIR" "$XDG_DATA_HOME"
# podman and buildah want the file where DOCKER_CONFIG names its folder.
[ -e "$DOCKER_CONFIG/config.json" ] || echo '{}' >"$DOCKER_CONFIG/config.json"

# Waits until the command succeeds: two minutes, since a busy machine is no failure, or as long as the process runs.
comes() { # PID COMMAND...
  local pid=$1 _; shift
  for _ in $(seq 1200); do
    "$@" >/dev/null 2>&1 && return
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}
skip() { echo "SKIP $NAME: $*"; finish; }
fail() { echo "FAIL $NAME: $*"; FAILED=1; finish; }

finish() {
  local pid
  for pid in "${PIDS[@]+"${PIDS[@]}"}"; do kill "$pid" 2>/dev/null; done
  for pid in "${PIDS[@]+"${PIDS[@]}"}"; do
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null
  done
  trap - EXIT
  # What a client mounted and did not unmount, the deepest first.
  awk -v w="$WORK/" 'index($2, w) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r at; do umount -l "$at"; done
  [ -n "${KEEP:-}" ] || [ "$FAILED" = 1 ] || rm -rf "$WORK"
  exit "$FAILED"
}
trap finish EXIT

# Runs a step; says ok or FAIL with the end of what it printed.
check() {
  local what=$1; shift
  if "$@" >"$WORK/step.log" 2>&1; then
    echo "ok $NAME: $what"
  else
    echo "FAIL $NAME: $what: $(tail -n 4 "$WORK/step.log" | tr '\n' ' ' | tail -c 600)"
    FAILED=1
  fi
}
# The same for a step that must fail.
refused() {
  local what=$1; shift
  if "$@" >"$WORK/step.log" 2>&1; then
    echo "FAIL $NAME: $what: it was not refused"
    FAILED=1
  else
    echo "ok $NAME: $what"
  fi
}
missing() { local t; for t in "$@"; do command -v "$t" >/dev/null || { echo "$t"; return 0; }; done; return 1; }

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A loopback *name* (clients treat loopback addresses as plain HTTP): each script runs in a mount namespace of its own
# with an /etc/hosts that knows registry.test. Where namespaces are forbidden (in most containers) and the name is known
# all the same, a script that mounts nothing runs as it is.
own_namespace() { # [mounts]
  [ -n "${IN_NAMESPACE:-}" ] && return
  if ! unshare -m true 2>/dev/null; then
    [ "${1:-}" = mounts ] && skip "this machine forbids mounts"
    [ "$(getent hosts $HOST | cut -d' ' -f1)" = 127.0.0.1 ] && return
    skip "this machine forbids mount namespaces, and its /etc/hosts has no '127.0.0.1 $HOST'"
  fi
  { cat /etc/hosts; echo "127.0.0.1 $HOST"; } >"$WORK/hosts"
  trap - EXIT
  IN_NAMESPACE=1 exec unshare -m bash -c 'mount --make-rprivate / && mount --bind "$1" /etc/hosts && exec bash "$2"' \
    sh "$WORK/hosts" "$(readlink -f "$0")"
}

# serve NAME [MODE]: a server in $WORK/NAME; sets HTTP, HTTPS (host:port by address), TLS (host:port by name) and CA.
serve() {
  local dir=$WORK/$1 mode=${2:-mirror} port tls
  port=$(free_port) tls=$(free_port)
  while [ "$tls" = "$port" ]; do tls=$(free_port); done
  if [ ! -d "$dir" ]; then
    echo $PASSWORD | "$DRYPORT" init --data "$dir" --mode "$mode" --admin $ADMIN --password-stdin >"$dir.init" 2>&1 ||
      fail "init: $(tail -n 3 "$dir.init" | tr '\n' ' ')"
  fi
  DRYPORT_TLS__NAMES="$HOST" "$DRYPORT" serve --data "$dir" --https "127.0.0.1:$tls" --http "127.0.0.1:$port" 2>"$dir.log" &
  PIDS+=($!); SERVER=$!
  HTTP=127.0.0.1:$port HTTPS=127.0.0.1:$tls TLS=$HOST:$tls DATA=$dir
  wait_for "http://$HTTP/readyz" "$dir.log"
  CA=$dir.ca.crt
  "$DRYPORT" trust --data "$dir" --pem >"$CA" || fail "trust --pem"
  CERTS=$WORK/certs-$1; mkdir -p "$CERTS"; cp "$CA" "$CERTS/ca.crt"
}

wait_for() {
  comes "$SERVER" curl -fsS --noproxy '*' -o /dev/null "$1" && return
  fail "$1 does not answer: $(tail -n 3 "$2" | tr '\n' ' ')"
}

# Puts an image of the layout into the running server.
seed() { # TAG TARGET
  skopeo --insecure-policy copy -q --all --dest-tls-verify=false --dest-creds "$ADMIN:$PASSWORD" \
    "oci:$CONTENT:$1" "docker://$HTTP/$2"
}
# The digest that the registry serves, without any client under test.
digest_of() { # NAME TAG
  curl -fsS --noproxy '*' -o /dev/null -D - -H 'Accept: */*' "http://$HTTP/v2/$1/manifests/$2" |
    tr -d '\r' | sed -n 's/^docker-content-digest: //Ip'
}
layout_digest() { # TAG
  jq -r --arg t "$1" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $t) | .digest' "$CONTENT/index.json"
}
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }
