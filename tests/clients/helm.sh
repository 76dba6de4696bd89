#!/usr/bin/env bash
# helm 3: login, push and pull of a chart over OCI, by name over TLS and by address over HTTP.
. "$(dirname "$0")/common.sh"
HELM=$(find "$CACHE/npm/node_modules" -type f -name 'helm*' -perm -u+x -size +5M 2>/dev/null | head -n 1)
[ -n "$HELM" ] || skip "helm is not installed"
own_namespace
serve main
export HELM_CACHE_HOME=$WORK/h/cache HELM_CONFIG_HOME=$WORK/h/config HELM_DATA_HOME=$WORK/h/data SSL_CERT_FILE=$CA
mkdir -p chart/templates out
printf 'apiVersion: v2\nname: demo\nversion: 0.1.0\n' >chart/Chart.yaml
printf 'kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: demo\n' >chart/templates/cm.yaml
"$HELM" package chart >/dev/null || fail "helm package"
login() { echo "$1" | "$HELM" registry login -u $ADMIN --password-stdin "$TLS"; }
refused "push without login" "$HELM" push demo-0.1.0.tgz "oci://$TLS/charts"
refused "login with a wrong password" login wrong
check "login" login $PASSWORD
check "push" "$HELM" push demo-0.1.0.tgz "oci://$TLS/charts"
check "pull" "$HELM" pull "oci://$TLS/charts/demo" --version 0.1.0 -d out
check "the chart is the same" cmp demo-0.1.0.tgz out/demo-0.1.0.tgz
check "show" "$HELM" show chart "oci://$TLS/charts/demo" --version 0.1.0
check "template" "$HELM" template "oci://$TLS/charts/demo" --version 0.1.0
