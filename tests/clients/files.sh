#!/usr/bin/env bash
# Plain files: curl, wget, aria2c, rclone and Python's requests put, fetch, resume and mirror them; 1 GB and 10,000 of them.
. "$(dirname "$0")/common.sh"
tool=$(missing curl wget aria2c rclone sha256sum) && skip "$tool is not installed"
python3 -c 'import requests' 2>/dev/null || skip "Python's requests is not installed"
own_namespace
serve main
"$DRYPORT" repo create files --kind file --data "$DATA" >/dev/null || fail "repo create"
URL=https://$TLS/r/files
AS="$ADMIN:$PASSWORD"
CURL="curl -fsS --cacert $CA"
# 1 GB of which no piece is like another, quickly made.
head -c 1000000000 /dev/zero | openssl enc -aes-128-ctr -pass pass:files -nosalt -pbkdf2 >"$WORK/big" 2>/dev/null
SUM=$(sha256sum <"$WORK/big" | cut -d' ' -f1)
whole() { same "$(sha256sum <"$1" | cut -d' ' -f1)" "$SUM"; }
part() { head -c 400000000 "$WORK/big" >"$1"; }
fresh() { rm -rf "$WORK/out"; mkdir "$WORK/out"; }

check "curl puts 1 GB" $CURL -u $AS -T "$WORK/big" "$URL/big/disk.img"
check "curl gets it" bash -c "$CURL -o $WORK/got $URL/big/disk.img"
check "whole" whole "$WORK/got"
part "$WORK/got"
check "curl resumes" $CURL -C - -o "$WORK/got" "$URL/big/disk.img"
check "whole" whole "$WORK/got"
check "curl resumes nothing more" bash -c "$CURL -C - -o $WORK/got $URL/big/disk.img || [ \$? = 22 ]"
check "curl asks whether it changed" same "$($CURL -z "$WORK/got" -o /dev/null -w '%{http_code}' "$URL/big/disk.img")" 304
refused "curl creates only where nothing is" $CURL -u $AS -H 'If-None-Match: *' -T "$WORK/big" "$URL/big/disk.img"
refused "curl puts without a login" $CURL -T "$DRYPORT" "$URL/x"
check "curl checks the sums" bash -c "$CURL $URL/big/SHA256SUMS | sed 's/disk.img/got/' >$WORK/sums && cd $WORK && sha256sum -c sums"

W="wget -q --no-proxy --ca-certificate=$CA"
fresh; check "wget gets it" $W -O "$WORK/out/disk.img" "$URL/big/disk.img"
check "whole" whole "$WORK/out/disk.img"
part "$WORK/out/disk.img"
check "wget -c resumes" bash -c "cd $WORK/out && $W -c $URL/big/disk.img"
check "whole" whole "$WORK/out/disk.img"
check "wget -N leaves what is new" bash -c "cd $WORK/out && $W -N $URL/big/disk.img"

fresh; check "aria2c with 16 connections" aria2c -q -x16 -s16 -k1M --ca-certificate="$CA" --no-conf --all-proxy= -d "$WORK/out" "$URL/big/disk.img"
check "whole" whole "$WORK/out/disk.img"
fresh; part "$WORK/out/disk.img"
check "aria2c resumes" aria2c -q -c -x16 -s16 --ca-certificate="$CA" --no-conf --all-proxy= -d "$WORK/out" "$URL/big/disk.img"
check "whole" whole "$WORK/out/disk.img"

R="rclone --config /dev/null --ca-cert $CA --http-url $URL/"
fresh; check "rclone copies" $R copy :http:big "$WORK/out"
check "whole" whole "$WORK/out/disk.img"
check "rclone lists" same "$($R lsf :http:)" "big/"
check "rclone compares" $R check --one-way --size-only :http:big "$WORK/out"

cat >"$WORK/fetch.py" <<'PYTHON'
import hashlib, sys, requests
url, ca, want = sys.argv[1:]
session = requests.Session()
session.trust_env, session.verify = False, ca
digest, at = hashlib.sha256(), 0
# The first answer is given up half way; the second goes on from there, if it is still the same file.
with session.get(url, stream=True) as reply:
    reply.raise_for_status()
    tag = reply.headers["ETag"]
    for piece in reply.iter_content(1 << 20):
        digest.update(piece)
        at += len(piece)
        if at > 400_000_000:
            break
with session.get(url, stream=True, headers={"Range": f"bytes={at}-", "If-Range": tag}) as reply:
    assert reply.status_code == 206, reply.status_code
    for piece in reply.iter_content(1 << 20):
        digest.update(piece)
assert digest.hexdigest() == want, digest.hexdigest()
assert session.get(url, headers={"If-None-Match": tag}).status_code == 304
folder = session.get(url.rsplit("/", 1)[0] + "/", headers={"Accept": "application/json"}).json()
assert [entry["name"] for entry in folder["entries"]] == ["disk.img"], folder
PYTHON
check "requests fetches in two pieces" python3 "$WORK/fetch.py" "$URL/big/disk.img" "$CA" "$SUM"

# In parts of 300 MB, taken up as the server says.
split -b 300000000 -d "$WORK/big" "$WORK/part."
at=0
for piece in "$WORK"/part.*; do
  size=$(stat -c %s "$piece") last=$((at + $(stat -c %s "$piece") - 1))
  check "part from $at" $CURL -u $AS -H "Content-Range: bytes $at-$last/1000000000" -T "$piece" "$URL/big/parts.img"
  at=$((at + size)); rm -f "$piece"
done
check "the parts are the file" same "$($CURL "$URL/big/SHA256SUMS" | cut -c1-64 | sort -u)" "$SUM"

mkdir "$WORK/many"; (cd "$WORK/many" && seq 10000 | split -l 1 -a 5 -d - 'file ')
check "push of 10,000 files" bash -c "cd $WORK/many && ulimit -n \$(ulimit -Hn) && find . -type f -printf '%f\\0' | xargs -0 -n 500 sh -c '\"$DRYPORT\" push --data $DATA \"\$@\" files/many/x/' sh"
check "push -r finds all of them there" same "$("$DRYPORT" push -r --data "$DATA" "$WORK/many" files/many/x/ | tail -n 1)" "0 files pushed (0 B), 10000 were there already"
check "rclone lists all of them" same "$($R lsf :http:many/x | wc -l)" 10000
fresh; check "wget -m gets all of them" bash -c "cd $WORK/out && wget -q -m -np -nH --cut-dirs=4 --no-proxy --ca-certificate=$CA $URL/many/x/"
check "and nothing is missing" bash -c "diff -rq $WORK/many $WORK/out | grep -v ': index.html' | (! grep .)"
check "the sums of all" bash -c "cd $WORK/out && $CURL $URL/many/x/SHA256SUMS | sha256sum -c --quiet && [ \$($CURL $URL/many/x/SHA256SUMS | wc -l) = 10000 ]"
check "curl deletes" $CURL -u $AS -X DELETE "$URL/big/disk.img"
refused "it is gone" $CURL -o /dev/null "$URL/big/disk.img"
check "nothing is wrong" "$DRYPORT" check --data "$DATA"
