#!/bin/sh
# Hands SRT callers on to the ingesters: nginx with what it cannot take from its environment, name server and port.
set -eu
resolver=$(sed -n 's/^nameserver  *\([0-9.]*\)$/\1/p' /etc/resolv.conf | head -n 1)
cat > /tmp/nginx.conf <<END
include /etc/nginx/modules-enabled/*.conf;
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;
worker_processes 1;
events { worker_connections 4096; }
stream {
  resolver $resolver valid=1s ipv6=off;
  map \$remote_port \$ingester { default ingester; }
  server {
    listen $REELAY_SRT_PORT udp rcvbuf=4m sndbuf=4m;
    proxy_pass \$ingester:$REELAY_SRT_PORT;
    proxy_buffer_size 64k;
    proxy_timeout 10s;
  }
}
END
exec nginx -c /tmp/nginx.conf
