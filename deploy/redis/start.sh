#!/bin/sh
# Starts Redis in its image: start.sh primary|replica|sentinel NAME, which other servers reach under NAME.
# The configuration is written once, since Redis and Sentinel write their present role into it.
set -eu
umask 077

role=$1 name=$2
file=/data/$role.conf
if [ ! -s "$file" ]; then
    password=$(cat /run/secrets/redis_password)
    {
        if [ "$role" = sentinel ]; then
            cat /etc/agentexec/sentinel.conf
            echo "sentinel announce-ip $name"
            echo "sentinel auth-pass mymaster $password"
            echo "sentinel sentinel-pass $password"
        else
            cat /etc/agentexec/redis.conf
            echo "replica-announce-ip $name"
            echo "masterauth $password"
            [ "$role" = primary ] || echo "replicaof redis-primary 6379"
        fi
        echo "requirepass $password"
    } >"$file.new"
    mv "$file.new" "$file"
fi
chown -R redis:redis /data

set -- redis-server "$file"
[ "$role" != sentinel ] || set -- "$@" --sentinel
exec "${REDIS_ENTRYPOINT:-docker-entrypoint.sh}" "$@"
