#!/usr/bin/env bash
# A private CA that may sign for IPv4 networks only, and a server certificate with an IPv6 address beside its IPv4 one.
#
# Guess:  a list of permitted IPv4 networks says nothing about IPv6 addresses, in every library: the two have different
#         lengths, as two kinds of names do. So a CA for 10.0.0.0/8 needs no IPv6 networks.
# Seen:   iPAddress is one kind of name to OpenSSL: the whole certificate is refused, also for its IPv4 address and its DNS
#         name. So do Go's crypto/x509 and NSS (tried, not run here). GnuTLS keeps the families apart and takes it. RFC 5280
#         section 4.2.1.10 can be read both ways. With IPv6 networks in the list, both take it: list both families always.
# With:   Debian 12: openssl 3.0.x (system), gnutls-bin 3.7.9 and its libraries (unpacked, not installed).
# Output: see the four "expect" lines at the end.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
wanted=()
for package in gnutls-bin=3.7.9-2+deb12u libgnutls30=3.7.9-2+deb12u libgnutls-dane0=3.7.9-2+deb12u libopts25= libunbound8= libevent-2.1-7=; do
  name=${package%%=*} want=${package#*=}
  version=$(apt-cache madison "$name" | awk -F ' *[|] *' 'NR == 1 {print $2}')
  # The pin: another version is another finding.
  [[ $version == "$want"* ]] || { echo "FAIL: $name is $version, pinned $want*"; exit 1; }
  wanted+=("$name=$version")
done
apt-get download -q -o APT::Sandbox::User=root "${wanted[@]}" >/dev/null 2>&1
for deb in ./*.deb; do dpkg -x "$deb" root; done
LIBS=$(find "$dir/root" -name '*.so.*' -printf '%h:')
certtool() { LD_LIBRARY_PATH=$LIBS "$dir/root/usr/bin/certtool" "$@"; }
openssl version | grep -q '^OpenSSL 3\.0\.' || { echo "FAIL: $(openssl version), pinned OpenSSL 3.0"; exit 1; }
certtool --version | head -n 1 | grep -q '3\.7\.9' || { echo "FAIL: certtool is not 3.7.9"; exit 1; }

new_key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1"; }
ca() { # NAME CONSTRAINTS
  new_key "$1.key"
  printf '[req]\ndistinguished_name=dn\nx509_extensions=v3\nprompt=no\n[dn]\nCN=%s\n[v3]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nnameConstraints=critical,%s\n' "$1" "$2" >"$1.cnf"
  openssl req -x509 -new -key "$1.key" -days 30 -config "$1.cnf" -out "$1.pem"
  new_key leaf.key
  openssl req -new -key leaf.key -subj /CN=box -out leaf.csr
  printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:box.example,IP:10.1.2.3,IP:fd00::1\n' >leaf.ext
  openssl x509 -req -in leaf.csr -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -days 20 -extfile leaf.ext -out "$1-leaf.pem" 2>/dev/null
}
four='permitted;IP:10.0.0.0/255.0.0.0'
ca four "$four"
ca both "$four,permitted;IP:fc00::/fe00::"

by_openssl() { openssl verify -CAfile "$1.pem" -verify_ip 10.1.2.3 "$1-leaf.pem" >"$1.openssl" 2>&1; }
by_gnutls() { certtool --verify --load-ca-certificate "$1.pem" --infile "$1-leaf.pem" --verify-hostname 10.1.2.3 >"$1.gnutls" 2>&1; }
expect() { # WHAT yes|no COMMAND...
  local what=$1 want=$2 got=no; shift 2
  "$@" && got=yes
  echo "$what: accepted: $got"
  [ "$got" = "$want" ] || { echo "FAIL: expected $want"; tail -n 3 ./*.openssl ./*.gnutls; exit 1; }
}
expect "OpenSSL, CA for IPv4 networks" no by_openssl four
grep -q 'permitted subtree violation' four.openssl
expect "GnuTLS,  CA for IPv4 networks" yes by_gnutls four
expect "OpenSSL, CA for both" yes by_openssl both
expect "GnuTLS,  CA for both" yes by_gnutls both
