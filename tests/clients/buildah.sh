#!/usr/bin/env bash
# buildah: build an image from scratch, push it, push a manifest list.
. "$(dirname "$0")/common.sh"
tool=$(missing buildah skopeo jq) && skip "$tool is not installed"
own_namespace
B="buildah --root $WORK/root --runroot $WORK/runroot --storage-driver vfs"
serve main
c=$($B from scratch 2>"$WORK/from.log") || skip "buildah does not run here: $(tail -n 1 "$WORK/from.log")"
echo hello >"$WORK/hello"
$B copy -q "$c" "$WORK/hello" /hello >/dev/null && $B commit -q "$c" built:v1 >/dev/null 2>&1 || fail "buildah cannot commit"
check "push" $B push -q --cert-dir "$CERTS" --creds $ADMIN:$PASSWORD built:v1 "docker://$TLS/built/app:v1"
refused "push with a wrong password" $B push -q --cert-dir "$CERTS" --creds $ADMIN:wrong built:v1 "docker://$TLS/built/no:v1"
$B manifest create list >/dev/null && $B manifest add list built:v1 >/dev/null
check "push a manifest list" $B manifest push --all --cert-dir "$CERTS" --creds $ADMIN:$PASSWORD list "docker://$TLS/built/list:v1"
check "the list is served" bash -c "skopeo inspect --raw --cert-dir $CERTS docker://$TLS/built/list:v1 | jq -e '.manifests | length == 1'"
check "pull" $B pull -q --cert-dir "$CERTS" "docker://$TLS/built/app:v1"
