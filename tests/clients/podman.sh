#!/usr/bin/env bash
# podman: login, push, pull, search; in mirror and in standalone mode.
. "$(dirname "$0")/common.sh"
tool=$(missing podman skopeo) && skip "$tool is not installed"
own_namespace
P="podman --root $WORK/root --runroot $WORK/runroot --storage-driver vfs --cgroup-manager cgroupfs --events-backend file"
$P info >"$WORK/info" 2>&1 || skip "podman does not run here: $(tail -n 1 "$WORK/info")"
login() { echo "$2" | $P login --cert-dir "$CERTS" --authfile "$WORK/auth.json" -u $ADMIN --password-stdin "$1"; }
serve main
TLS_MAIN=$TLS
seed single team/app:v1
check "pull anonymously" $P pull -q --cert-dir "$CERTS" "$TLS/team/app:v1"
refused "push without login" $P push -q --cert-dir "$CERTS" --authfile "$WORK/none.json" "$TLS/team/app:v1"
refused "login with a wrong password" login "$TLS" wrong
check "login" login "$TLS" $PASSWORD
check "push" $P push -q --cert-dir "$CERTS" --authfile "$WORK/auth.json" "$TLS/team/app:v1" "$TLS/team/copy:v1"
check "push in docker's format" $P push -q --format v2s2 --cert-dir "$CERTS" --authfile "$WORK/auth.json" "$TLS/team/app:v1" "$TLS/team/copy:v2s2"
$P rmi -af >/dev/null 2>&1
check "pull what was pushed" $P pull -q --cert-dir "$CERTS" "$TLS/team/copy:v1"
check "pull over plain HTTP" $P pull -q --tls-verify=false "$HTTP/team/copy:v2s2"
check "search" bash -c "$P search --tls-verify=false $HTTP/team | grep -q team/copy"
check "search --list-tags" bash -c "$P search --list-tags --tls-verify=false $HTTP/team/copy | grep -q v2s2"
R="$P run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
if jq -e '[.manifests[].annotations["org.opencontainers.image.ref.name"]] | index("run")' "$CONTENT/index.json" >/dev/null; then
  seed run team/run:v1
  check "pull an image to run" $P pull -q --cert-dir "$CERTS" "$TLS/team/run:v1"
  # Whether this machine lets containers run at all is no matter of the registry: the same image, loaded without one.
  skopeo --insecure-policy copy -q "oci:$CONTENT:run" "docker-archive:$WORK/run.tar:localhost/run:v1" && $P load -q -i "$WORK/run.tar" >/dev/null
  if $R localhost/run:v1 >"$WORK/run.log" 2>&1; then
    check "run it" bash -c "$R --pull never $TLS/team/run:v1 | grep -x 'it runs'"
    $P rmi -af >/dev/null 2>&1
    check "run what must be pulled first" bash -c "$R --pull always --tls-verify=false $HTTP/team/run:v1 | grep -x 'it runs'"
  else
    echo "SKIP $NAME: run: this machine runs no containers: $(tail -n 1 "$WORK/run.log")"
  fi
else
  echo "SKIP $NAME: run: busybox-static is not installed"
fi
$P pull -q --cert-dir "$CERTS" "$TLS/team/copy:v1" >/dev/null
serve closed standalone
refused "standalone refuses an anonymous pull" $P pull -q --cert-dir "$CERTS" --authfile "$WORK/none.json" "$TLS/team/app:v1"
refused "standalone: login with a wrong password" login "$TLS" wrong
check "standalone: login" login "$TLS" $PASSWORD
check "standalone: push" $P push -q --cert-dir "$CERTS" --authfile "$WORK/auth.json" "$TLS_MAIN/team/copy:v1" "$TLS/team/app:v1"
check "standalone: pull" $P pull -q --cert-dir "$CERTS" --authfile "$WORK/auth.json" "$TLS/team/app:v1"
