#!/usr/bin/env bash
# The official conformance suite, where OCI_CONFORMANCE names its built binary: plain HTTP, TLS, TLS with accounts.
. "$(dirname "$0")/common.sh"
[ -n "${OCI_CONFORMANCE:-}" ] || skip "OCI_CONFORMANCE does not name the suite's binary"
[ -x "$OCI_CONFORMANCE" ] || fail "$OCI_CONFORMANCE cannot be run"
suite() { # WHAT REGISTRY TLS
  mkdir -p "results-$1" && cd "results-$1" || return 1
  OCI_VERSION=dev OCI_DATA_SPARSE=true OCI_REGISTRY=$2 OCI_TLS=$3 OCI_REPO1=conformance/repo1 OCI_REPO2=conformance/repo2 \
    OCI_USERNAME=$ADMIN OCI_PASSWORD=$PASSWORD OCI_RESULTS_DIR=$PWD SSL_CERT_FILE=${CA:-} "$OCI_CONFORMANCE" >out.log 2>&1
  local code=$?
  cd ..
  python3 - "results-$1" <<'END' || return 1
import pathlib, re, sys
text = pathlib.Path(sys.argv[1], "out.log").read_text(errors="replace")
counts = {k: int(v) for k, v in re.findall(r"^  (Disabled|Skip|Pass|FAIL|Error|Total)\.+: +(\d+)$", text, re.M)}
print(", ".join(f"{v} {k.lower()}" for k, v in counts.items()))
sys.exit(0 if counts.get("Pass", 0) > 100 and counts["Pass"] == counts.get("Total") else 1)
END
  [ $code = 0 ]
}
serve plain
check "plain HTTP" suite http "$HTTP" disabled
tail -n 1 "$WORK/step.log"
serve tls
check "TLS" suite tls "localhost:${HTTPS#*:}" enabled
tail -n 1 "$WORK/step.log"
serve closed standalone
check "TLS, standalone, accounts" suite closed "localhost:${HTTPS#*:}" enabled
tail -n 1 "$WORK/step.log"
