#!/bin/sh
# Backs up the database of PGDATABASE into a folder, and deletes backups and archived WAL older than KEEP_DAYS (14).
#   PGHOST=... PGUSER=agentexec_backup PGPASSWORD=... PGDATABASE=agentexec backup.sh /backups [--base]
# A dump (agentexec-*.dump) restores by restore.sh into any Postgres. With --base, a copy of the whole server beside it
# (base-*), from which the archived WAL reaches any later moment. A backup has its name only once it is whole.
set -eu
umask 077

folder=${1:?the folder of the backups}
kind=${2:-}
name=$(date -u +%Y%m%dT%H%M%SZ)
part=$folder/.part-$name
trap 'rm -rf "$part"' EXIT

# Owners and rights are those of the database into which it is restored.
pg_dump --format=custom --no-owner --no-privileges --file="$part"
# A dump that cannot be read to its end is none.
pg_restore --list "$part" >/dev/null
mv "$part" "$folder/agentexec-$name.dump"

if [ "$kind" = --base ]; then
    pg_basebackup --pgdata="$part" --format=tar --gzip --checkpoint=fast --wal-method=stream
    mv "$part" "$folder/base-$name"
fi

days=${KEEP_DAYS:-14}
find "$folder" -maxdepth 1 \( -name 'agentexec-*.dump' -o -name 'base-*' \) -mtime "+$days" -exec rm -rf {} +
# The oldest base backup needs the WAL from its beginning on: a day more.
[ ! -d "$folder/wal" ] || find "$folder/wal" -type f -mtime "+$((days + 1))" -delete
echo "backed up into $folder/agentexec-$name.dump"
