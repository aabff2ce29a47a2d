#!/bin/bash
# Runs one database of the emulated RDS. The supervisor copies its settings to /run/rayform/database.env (0600) before
# the start: an environment variable would show in `docker inspect`.
set -euo pipefail
data=/var/lib/rayform/data/pgdata
bin=/usr/lib/postgresql/bin
. /run/rayform/database.env
chown postgres /var/lib/rayform/data
if [ ! -e "$data/.ready" ]; then
  rm -rf "$data"
  cp -a /var/lib/rayform/template "$data"
fi
# The password may be new (rotated, modified), so every start sets it, over a private socket.
mkdir -p /run/rayform/private && chown postgres /run/rayform/private && chmod 700 /run/rayform/private
su postgres -c "$bin/pg_ctl -D $data -w -s -o \"-c listen_addresses='' -k /run/rayform/private\" -l /dev/null start"
psql() { su postgres -c "$bin/psql -X -q -v ON_ERROR_STOP=1 -h /run/rayform/private -U rdsadmin $*"; }
cat > /run/rayform/private/setup.sql <<SQL
SELECT format('CREATE ROLE %I LOGIN CREATEDB CREATEROLE', :'master')
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'master') \gexec
SELECT format('ALTER ROLE %I PASSWORD %L', :'master', :'password') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'master')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SQL
{
  printf '\\set master %s\n' "$MASTER_QUOTED"
  printf '\\set password %s\n' "$PASSWORD_QUOTED"
  printf '\\set name %s\n' "$NAME_QUOTED"
  cat /run/rayform/private/setup.sql
} | psql -d postgres -f -
rm -f /run/rayform/private/setup.sql /run/rayform/database.env
su postgres -c "$bin/pg_ctl -D $data -w -s -m fast stop"
touch "$data/.ready"
# RDS has TLS, and from version 15 on nothing else. The supervisor copies a key, and a certificate of the cloud's CA for
# this server's address, before each start.
for file in key crt; do install -o postgres -m 600 "/run/rayform/database.$file" "$data/server.$file"; done
rm -f /run/rayform/database.key
exec setpriv --reuid=postgres --regid=postgres --init-groups \
  "$bin/postgres" -D "$data" -c "listen_addresses=*" -c ssl=on -c "port=$PORT" -c max_connections=200 \
  -c unix_socket_directories=/run/rayform/private -c log_destination=stderr
