#!/usr/bin/env bash
# nginx, HAProxy and Caddy in front of the server, set up as assets/docs/operations.md says, for both headers of `proxy_header`:
# a client that forges every line there is stays who it is, in the log, in the realm and for login delays; pushes work.
. "$(dirname "$0")/common.sh"
tool=$(missing skopeo openssl jq) && skip "$tool is not installed"
export DRYPORT_TRUSTED_PROXIES=127.0.0.1
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$HOST" -addext "subjectAltName=DNS:$HOST" \
  -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null || fail "openssl makes no certificate"
cat "$WORK/cert.pem" "$WORK/key.pem" >"$WORK/both.pem"

# ---- the proxies: each writes its configuration for a header, and is started in the foreground -------------------------
nginx_conf() { # HEADER PORT
  local lines
  case $1 in
    x-forwarded-for) lines='
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;' ;;
    forwarded) lines='
      proxy_set_header Forwarded "$http_forwarded, $element;proto=$scheme;host=\"$http_host\"";' ;;
  esac
  cat >"$WORK/nginx.conf" <<END
daemon off; pid $WORK/nginx.pid; error_log stderr; $([ "$(id -u)" = 0 ] && echo "user root;")
events {}
http {
  access_log off;
  client_body_temp_path $WORK/nginx.body; proxy_temp_path $WORK/nginx.proxy; fastcgi_temp_path $WORK/nginx.f;
  uwsgi_temp_path $WORK/nginx.u; scgi_temp_path $WORK/nginx.s;
  map \$remote_addr \$element { ~: "for=\\"[\$remote_addr]\\""; default "for=\$remote_addr"; }
  server {
    listen 127.0.0.1:$2 ssl;
    ssl_certificate $WORK/cert.pem; ssl_certificate_key $WORK/key.pem;
    location / {
      proxy_pass http://$HTTP;
      proxy_http_version 1.1;
      proxy_set_header Host \$http_host;$lines
      client_max_body_size 0;
      proxy_request_buffering off;
      proxy_buffering off;
    }
  }
}
END
  nginx -c "$WORK/nginx.conf" 2>"$WORK/nginx.log" &
}
haproxy_conf() { # HEADER PORT
  local lines
  case $1 in
    x-forwarded-for) lines='option forwardfor
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]' ;;
    forwarded) lines='http-request add-header Forwarded "for=\"%[src]\";proto=%[ssl_fc,iif(https,http)];host=\"%[req.hdr(Host)]\""' ;;
  esac
  cat >"$WORK/haproxy.cfg" <<END
defaults
  mode http
  timeout connect 5s
  timeout client 5m
  timeout server 5m
frontend registry
  bind 127.0.0.1:$2 ssl crt $WORK/both.pem
  $lines
  default_backend dryport
backend dryport
  server dryport $HTTP
END
  haproxy -db -f "$WORK/haproxy.cfg" >"$WORK/haproxy.log" 2>&1 &
}
caddy_conf() { # HEADER PORT
  local line=
  [ "$1" = forwarded ] && line='header_up Forwarded "for=\"{remote_host}\";proto={scheme};host=\"{hostport}\""'
  cat >"$WORK/Caddyfile" <<END
{
  admin off
  auto_https off
}
https://:$2 {
  bind 127.0.0.1
  tls $WORK/cert.pem $WORK/key.pem
  reverse_proxy $HTTP {
    $line
  }
}
END
  caddy run --config "$WORK/Caddyfile" --adapter caddyfile >"$WORK/caddy.log" 2>&1 &
}

# ---- what a client does ------------------------------------------------------------------------------------------------
# A request from an address of its own with all that it can forge; -D - for the head of the answer.
forged() { # ADDRESS PATH [CURL...]
  local from=$1 path=$2; shift 2
  curl -sk --noproxy '*' --http1.1 --interface "$from" --connect-to "$HOST:$PORT:127.0.0.1:$PORT" \
    -H 'Forwarded: for=6.6.6.6;proto=http;host=evil.example' -H 'Forwarded: for="127.0.0.1' \
    -H 'X-Forwarded-For: 6.6.6.6' -H 'X-Forwarded-For: 127.0.0.1, 7.7.7.7' -H 'X-Forwarded-Proto: http' \
    -H 'X-Forwarded-Host: evil.example' -H 'X-Real-IP: 6.6.6.6' "$@" "https://$HOST:$PORT$path"
}
value() { tr -d '\r' | sed -n "s/^$1: //Ip"; }
from_of() { jq -rR --arg id "$1" 'fromjson? | select(.target == "access" and .request == $id) | .from' "$DATA.log"; }
is_logged() { [ -n "$(from_of "$1")" ]; }
logged() { # REQUEST: the address in its access line
  [ -z "$1" ] || { comes "$SERVER" is_logged "$1"; from_of "$1"; }
}
status() { forged "$@" -o /dev/null -w '%{http_code}'; }

try() { # PROXY HEADER
  local what="$1 with $2" head from=127.0.0.5 n
  export DRYPORT_PROXY_HEADER=$2
  serve "$1-$2"
  PORT=$(free_port)
  "$1_conf" "$2" "$PORT"; PIDS+=($!)
  comes $! curl -sko /dev/null --noproxy '*' "https://127.0.0.1:$PORT/livez"
  head=$(forged $from /v2/ -o /dev/null -D -)
  check "$what: the realm" same "$(echo "$head" | value www-authenticate)" \
    "Bearer realm=\"https://$HOST:$PORT/v2/auth\",service=\"$HOST\""
  check "$what: the log" same "$(logged "$(echo "$head" | value x-request-id)")" $from
  check "$what: no metrics for strangers" same "$(status $from /metrics)" 401
  head=$(forged $from /v2/ -o /dev/null -D - -H 'Host: a";for=6.6.6.6;x="')
  # A proxy may refuse such a host by itself.
  n=$(echo "$head" | value x-request-id)
  check "$what: no address from a host" bash -c "[ -z '$n' ] || [ '$(logged "$n")' != 6.6.6.6 ]"
  for n in 1 2 3 4 5; do status $from /v2/ -u "$ADMIN:wrong-$n" >/dev/null; done
  check "$what: a login is slowed at its address" same "$(status $from /v2/ -u "$ADMIN:$PASSWORD")" 429
  check "$what: and at no other" same "$(status 127.0.0.6 /v2/ -u "$ADMIN:$PASSWORD")" 200
  check "$what: push" skopeo --insecure-policy copy -q --all --dest-tls-verify=false --dest-creds "$ADMIN:$PASSWORD" \
    "oci:$CONTENT:multi" "docker://127.0.0.1:$PORT/team/app:multi"
  check "$what: pull" skopeo --insecure-policy copy -q --all --src-tls-verify=false \
    "docker://127.0.0.1:$PORT/team/app:multi" "dir:$WORK/pulled-$1-$2"
}
for proxy in nginx haproxy caddy; do
  if missing $proxy >/dev/null; then echo "SKIP $NAME: $proxy is not installed"; continue; fi
  for header in x-forwarded-for forwarded; do try $proxy $header; done
done
