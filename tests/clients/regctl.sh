#!/usr/bin/env bash
# regctl: login, copy with referrers, artifacts, tag and blob commands.
. "$(dirname "$0")/common.sh"
export PATH=$CACHE/bin:$PATH
tool=$(missing regctl) && skip "$tool is not installed"
own_namespace
serve main
export REGCTL_CONFIG=$WORK/regctl.json
regctl registry set "$TLS" --cacert "$CA" 2>/dev/null || regctl registry set "$TLS" --tls enabled --cacert "$(cat "$CA")" || fail "registry set"
seed multi team/app:multi
seed single team/app:single
login() { echo "$1" | regctl registry login "$TLS" -u $ADMIN --pass-stdin; }
refused "login with a wrong password" login wrong
check "login" login $PASSWORD
check "digest" same "$(regctl image digest "$TLS/team/app:multi")" "$(layout_digest multi)"
check "attach an artifact" bash -c "echo '{}' | regctl artifact put --artifact-type application/vnd.example.sbom --subject $TLS/team/app:multi"
check "list it" bash -c "regctl artifact list --format '{{jsonPretty .}}' $TLS/team/app:multi | grep -q vnd.example.sbom"
check "copy with referrers" regctl image copy --referrers "$TLS/team/app:multi" "$TLS/team/copy:v1"
check "the referrer came too" bash -c "regctl artifact list --format '{{jsonPretty .}}' $TLS/team/copy:v1 | grep -q vnd.example.sbom"
check "export" regctl image export "$TLS/team/app:single" "$WORK/export.tar"
check "import" regctl image import "$TLS/team/imported:v1" "$WORK/export.tar"
check "tags" same "$(regctl tag ls "$TLS/team/app" | tr '\n' ' ')" "multi single "
check "repositories" bash -c "regctl repo ls $TLS | grep -qx team/copy"
check "delete a tag" regctl tag delete "$TLS/team/app:single"
refused "it is gone" regctl image digest "$TLS/team/app:single"
