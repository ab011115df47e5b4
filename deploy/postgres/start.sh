#!/bin/sh
# Starts Postgres in its image with the certificate of the secrets: its key has to belong to the server alone.
set -eu

install -d -o postgres -g postgres -m 700 /run/tls /backups/wal
install -o postgres -g postgres -m 600 /run/secrets/server_key /run/tls/server.key
install -o postgres -g postgres -m 644 /run/secrets/server_crt /run/tls/server.crt
POSTGRES_PASSWORD=$(cat /run/secrets/postgres_password)
export POSTGRES_PASSWORD
exec "${POSTGRES_ENTRYPOINT:-docker-entrypoint.sh}" postgres -c config_file=/etc/agentexec/postgresql.conf
