#!/usr/bin/env bash
# dockerd (Debian's, unpacked) with the docker CLI: login, build, push, pull, --registry-mirror.
. "$(dirname "$0")/common.sh"
export PATH=$PATH:$CACHE/dockerio/usr/bin:$CACHE/dockerio/usr/sbin
tool=$(missing dockerd docker containerd runc) && skip "$tool is not installed"
own_namespace mounts
mount -t tmpfs tmpfs /run 2>/dev/null || skip "this machine forbids mounts"
serve up
seed single library/cached:1
UP=$HTTP
serve main
"$DRYPORT" upstream add hub --url "http://$UP" --prefix hub.example --default --library-prefix on --data "$DATA" >/dev/null || fail "upstream add"
seed single docker.io/library/thing:3
seed single library/thing:3 # docker sends no ns to its mirror
mkdir -p ctrd "/etc/docker/certs.d" 2>/dev/null
# The daemon looks for a CA in /etc/docker/certs.d/HOST:PORT: a folder of our own is mounted there.
mkdir -p certs.d/"$TLS"; cp "$CA" certs.d/"$TLS"/ca.crt
mkdir -p /etc/docker/certs.d && mount --bind certs.d /etc/docker/certs.d || skip "this machine forbids bind mounts"
cat >ctrd.toml <<END
version = 2
root = "$WORK/ctrd/root"
state = "$WORK/ctrd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$WORK/ctrd/c.sock"
END
containerd -c ctrd.toml >ctrd.log 2>&1 & PIDS+=($!)
comes $! [ -S ctrd/c.sock ]
export DOCKER_HOST=unix://$WORK/d.sock
start() { # STORAGE-DRIVER
  dockerd -H "$DOCKER_HOST" --data-root "$WORK/data-$1" --exec-root "$WORK/exec" --pidfile "$WORK/d.pid" \
    --containerd "$WORK/ctrd/c.sock" --bridge=none --iptables=false --ip6tables=false "--storage-driver=$1" \
    --registry-mirror "http://$HTTP" >"dockerd-$1.log" 2>&1 &
  DAEMON=$!
  comes $DAEMON docker info && { PIDS+=("$DAEMON"); return 0; }
  kill $DAEMON 2>/dev/null; return 1
}
start overlay2 || start vfs || skip "dockerd does not start here: $(tail -n 1 dockerd-vfs.log)"
login() { echo "$2" | docker login -u $ADMIN --password-stdin "$1"; }
check "pull through --registry-mirror" docker pull thing:3
check "pull what only an upstream has" docker pull cached:1
check "pull over TLS, anonymously" docker pull "$TLS/docker.io/library/thing:3"
refused "login with a wrong password" login "$TLS" wrong
mkdir -p build; echo hello >build/hello
printf 'FROM %s/docker.io/library/thing:3\nCOPY hello /hello\n' "$TLS" >build/Dockerfile
export DOCKER_BUILDKIT=0
check "build" docker build --network none -t "$TLS/team/built:v1" build
refused "push without login" docker push "$TLS/team/built:v1"
check "login" login "$TLS" $PASSWORD
check "push" docker push "$TLS/team/built:v1"
docker rmi -f "$TLS/team/built:v1" >/dev/null 2>&1
check "pull what was pushed" docker pull "$TLS/team/built:v1"
check "logout" docker logout "$TLS"
serve closed standalone
mkdir -p certs.d/"$TLS"; cp "$CA" certs.d/"$TLS"/ca.crt
refused "standalone refuses an anonymous pull" docker pull "$TLS/team/built:v1"
refused "standalone: login with a wrong password" login "$TLS" wrong
check "standalone: login" login "$TLS" $PASSWORD
docker tag thing:3 "$TLS/team/thing:v1"
check "standalone: push" docker push "$TLS/team/thing:v1"
check "standalone: pull" docker pull "$TLS/team/thing:v1"
