#!/usr/bin/env bash
# containerd with ctr: hosts.toml over TLS, push, fetch all platforms, and a mirror entry that sends ns=.
. "$(dirname "$0")/common.sh"
tool=$(missing containerd ctr) && skip "$tool is not installed"
own_namespace mounts
mount -t tmpfs tmpfs /run 2>/dev/null || skip "this machine forbids mounts"
serve main
seed multi team/app:v1
seed multi docker.io/library/thing:3
seed single quay.example/team/app:v1
mkdir -p ctrd
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
[ -S ctrd/c.sock ] || skip "containerd does not start here: $(tail -n 1 ctrd.log)"
hosts() { # HOST SERVER
  mkdir -p "hosts.d/$1"
  printf 'server = "%s"\n[host."%s"]\n  capabilities = ["pull", "resolve", "push"]\n  ca = "%s"\n' "$2" "https://$TLS" "$CA" >"hosts.d/$1/hosts.toml"
}
hosts "$TLS" "https://$TLS"
hosts docker.io https://docker.invalid
hosts quay.example https://quay.example
C="ctr -a $WORK/ctrd/c.sock -n test"
check "pull" $C images pull --snapshotter native --hosts-dir "$WORK/hosts.d" "$TLS/team/app:v1"
check "fetch all platforms" $C content fetch --all-platforms --hosts-dir "$WORK/hosts.d" "$TLS/team/app:v1"
check "pull docker.io through the mirror" $C images pull --snapshotter native --hosts-dir "$WORK/hosts.d" docker.io/library/thing:3
check "pull another registry through the mirror" $C images pull --snapshotter native --hosts-dir "$WORK/hosts.d" quay.example/team/app:v1
check "the mirror was asked with ns=" grep -q 'ns=docker.io\|docker.io/library/thing' "$DATA.log"
$C images tag "$TLS/team/app:v1" "$TLS/team/pushed:v1" >/dev/null
refused "push with a wrong password" $C images push --hosts-dir "$WORK/hosts.d" --user $ADMIN:wrong "$TLS/team/pushed:v1"
check "push" $C images push --hosts-dir "$WORK/hosts.d" --user $ADMIN:$PASSWORD "$TLS/team/pushed:v1"
check "the digest is the same" same "$(digest_of team/pushed v1)" "$(layout_digest multi)"
