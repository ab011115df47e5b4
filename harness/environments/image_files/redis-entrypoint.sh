#!/bin/sh
# Runs Redis as the official image does: arguments that begin with a dash go to the server, the data is in /data, and
# the server replaces this shell (signals reach it).
set -eu

if [ "$#" -eq 0 ] || [ "${1#-}" != "$1" ]; then
    set -- redis-server "$@"
fi

if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown redis:redis /data
    exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
fi

exec "$@"
