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
folder = pathlib.Path(sys.argv[1])
texts = [p.read_text(errors="replace") for p in folder.rglob("*") if p.suffix in (".xml", ".log")]
for text in texts:
    found = re.search(r'<testsuites[^>]*>', text)
    if found:
        counts = {k: int(v) for k, v in re.findall(r'(tests|failures|errors|skipped|disabled)="(\d+)"', found[0])}
        print(counts)
        bad = sum(v for k, v in counts.items() if k != "tests")
        sys.exit(0 if counts.get("tests", 0) > 0 and bad == 0 else 1)
sys.exit("no result file of the suite was found")
END
  [ $code = 0 ]
}
serve plain
check "plain HTTP" suite http "$HTTP" disabled
cat "$WORK/step.log" | sed -n 's/^{/conformance: {/p'
serve tls
check "TLS" suite tls "localhost:${HTTPS#*:}" enabled
serve closed standalone
check "TLS, standalone, accounts" suite closed "localhost:${HTTPS#*:}" enabled
