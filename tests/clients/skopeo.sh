#!/usr/bin/env bash
# skopeo: copy both ways between the transports, inspect, list-tags, delete, sync.
. "$(dirname "$0")/common.sh"
tool=$(missing skopeo jq) && skip "$tool is not installed"
own_namespace
serve main
S="skopeo --insecure-policy"
TO="--dest-cert-dir $CERTS --dest-creds $ADMIN:$PASSWORD"
FROM="--src-cert-dir $CERTS"
for tag in multi single big empty; do
  check "push $tag" $S copy -q --all --preserve-digests $TO "oci:$CONTENT:$tag" "docker://$TLS/team/app:$tag"
  check "the digest of $tag" same "$(digest_of team/app $tag)" "$(layout_digest $tag)"
done
check "push schema 2" $S copy -q $TO "dir:$CONTENT.schema2" "docker://$TLS/team/schema2:v1"
check "pull schema 2 byte for byte" bash -c "$S copy -q $FROM docker://$TLS/team/schema2:v1 dir:$WORK/s2 && cmp $WORK/s2/manifest.json $CONTENT.schema2/manifest.json"
check "pull to oci" $S copy -q --all $FROM "docker://$TLS/team/app:multi" "oci:$WORK/oci:multi"
check "pull to dir" $S copy -q $FROM "docker://$TLS/team/app:big" "dir:$WORK/dir"
check "pull to docker-archive" $S copy -q $FROM "docker://$TLS/team/app:single" "docker-archive:$WORK/a.tar:team/app:single"
check "push from docker-archive" $S copy -q $TO "docker-archive:$WORK/a.tar" "docker://$TLS/team/again:v1"
check "push with a format change" $S copy -q --format v2s2 $FROM $TO "docker://$TLS/team/app:single" "docker://$TLS/team/v2s2:v1"
check "inspect" bash -c "$S inspect --cert-dir $CERTS docker://$TLS/team/app:multi | jq -e '.RepoTags | length == 4'"
check "inspect --raw" bash -c "$S inspect --raw --cert-dir $CERTS docker://$TLS/team/app:multi | sha256sum | grep -q $(layout_digest multi | cut -d: -f2)"
check "list-tags" bash -c "$S list-tags --cert-dir $CERTS docker://$TLS/team/app | jq -e '.Tags == [\"big\", \"empty\", \"multi\", \"single\"]'"
check "sync to a folder" $S sync --src docker --dest dir --src-cert-dir "$CERTS" "$TLS/team/app" "$WORK/synced"
check "sync from a folder" $S sync --src dir --dest docker $TO "$WORK/synced" "$TLS/synced"
refused "push without credentials" $S copy -q --dest-cert-dir "$CERTS" "oci:$CONTENT:single" "docker://$TLS/team/anon:v1"
refused "push with a wrong password" $S copy -q --dest-cert-dir "$CERTS" --dest-creds $ADMIN:wrong "oci:$CONTENT:single" "docker://$TLS/team/anon:v1"
refused "pull without the CA" $S copy -q "docker://$TLS/team/app:single" "dir:$WORK/none"
check "delete" $S delete --cert-dir "$CERTS" --creds $ADMIN:$PASSWORD "docker://$TLS/team/v2s2:v1"
refused "it is gone" $S inspect --cert-dir "$CERTS" "docker://$TLS/team/v2s2:v1"
