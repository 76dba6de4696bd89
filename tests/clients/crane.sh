#!/usr/bin/env bash
# crane: push, pull, copy, list, catalog, tag, validate, delete.
. "$(dirname "$0")/common.sh"
export PATH=$CACHE/bin:$PATH
tool=$(missing crane) && skip "$tool is not installed"
own_namespace
serve main
export SSL_CERT_FILE=$CA
login() { echo "$1" | crane auth login "$TLS" -u $ADMIN --password-stdin; }
seed multi team/app:multi
check "digest" same "$(crane digest "$TLS/team/app:multi")" "$(layout_digest multi)"
check "pull anonymously" crane pull --format oci "$TLS/team/app:multi" "$WORK/pulled"
check "validate all layers" crane validate --remote "$TLS/team/app:multi"
refused "push without login" crane push "$CONTENT" "$TLS/team/none:v1" --index
login $PASSWORD >/dev/null 2>&1
check "push a whole layout" crane push "$CONTENT" "$TLS/team/layout:v1" --index
check "copy" crane copy "$TLS/team/app:multi" "$TLS/team/copy:v1"
check "tag" crane tag "$TLS/team/copy:v1" v2
check "ls" same "$(crane ls "$TLS/team/copy" | tr '\n' ' ')" "v1 v2 "
check "catalog" bash -c "crane catalog $TLS | grep -qx team/copy"
check "export" bash -c "crane export --platform linux/arm64 $TLS/team/copy:v2 - | tar t | grep -q bin/hello"
check "delete" crane delete "$TLS/team/copy@$(layout_digest multi)"
refused "it is gone" crane digest "$TLS/team/copy:v1"
