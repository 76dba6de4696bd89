#!/usr/bin/env bash
# podman: login, push, pull, search; in mirror and in standalone mode.
. "$(dirname "$0")/common.sh"
tool=$(missing podman skopeo) && skip "$tool is not installed"
own_namespace
P="podman --root $WORK/root --runroot $WORK/runroot --storage-driver vfs --cgroup-manager cgroupfs --events-backend file"
$P info >"$WORK/info" 2>&1 || skip "podman does not run here: $(tail -n 1 "$WORK/info")"
login() { echo "$2" | $P login --cert-dir "$CERTS" --authfile "$WORK/auth.json" -u $ADMIN --password-stdin "$1"; }
serve main
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
serve closed standalone
refused "standalone refuses an anonymous pull" $P pull -q --cert-dir "$CERTS" --authfile "$WORK/none.json" "$TLS/team/app:v1"
refused "standalone: login with a wrong password" login "$TLS" wrong
check "standalone: login" login "$TLS" $PASSWORD
check "standalone: push" $P push -q --cert-dir "$CERTS" --authfile "$WORK/auth.json" "$($P images -q | head -n 1)" "$TLS/team/app:v1"
check "standalone: pull" $P pull -q --cert-dir "$CERTS" --authfile "$WORK/auth.json" "$TLS/team/app:v1"
