#!/bin/sh
# Runs Postgres as the official image does: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and POSTGRES_INITDB_ARGS make
# the cluster on the first start, arguments that begin with a dash go to the server, and the server replaces this
# shell (so that signals reach it).
set -eu

if [ "$(id -u)" = 0 ]; then
    mkdir -p /run/postgresql "$(dirname "$PGDATA")"
    chown postgres:postgres /run/postgresql "$(dirname "$PGDATA")"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

case "${1:-postgres}" in
    postgres) [ "$#" -eq 0 ] || shift ;;
    -*) ;;
    *) exec "$@" ;;
esac

bin=$(echo /usr/lib/postgresql/*/bin)

if [ ! -d "$PGDATA" ]; then
    : "${POSTGRES_PASSWORD:?set it to the password of the superuser}"
    # Made beside its place and moved there when complete: a container killed meanwhile begins anew.
    new=$PGDATA.new
    rm -rf "$new" "$new.password"
    (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" >"$new.password")
    "$bin/initdb" --pgdata="$new" --username="${POSTGRES_USER:-postgres}" --pwfile="$new.password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-}
    rm "$new.password"
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
    if [ "$database" != postgres ]; then
        echo "CREATE DATABASE \"$database\"" | "$bin/postgres" --single -D "$new" postgres
    fi
    mv "$new" "$PGDATA"
fi

exec "$bin/postgres" -D "$PGDATA" -c listen_addresses='*' "$@"
