#!/bin/sh
# Restores a dump of backup.sh into another, empty database, as the owner of the tables. Any error ends it.
#   PGHOST=... PGUSER=agentexec_owner PGPASSWORD=... restore.sh /backups/agentexec-20260115T030000Z.dump restored
# Make that database with roles.sql first (--set=database=restored): it grants the application its rights.
set -eu

dump=${1:?the file of the dump}
database=${2:?the database to restore into, which is not the one in use}
psql="psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname=$database"

tables=$($psql --command="SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
if [ "$tables" != 0 ]; then
    echo "restore.sh: $database has $tables tables; restore into an empty database" >&2
    exit 1
fi

# A newer pg_dump sets parameters that an older server does not know; transaction_timeout is the only one until now.
pg_restore --no-owner --no-privileges --file=- "$dump" | sed '/^SET transaction_timeout = 0;$/d' |
    $psql --single-transaction --file=- >/dev/null
$psql --command=ANALYZE
echo "restored $dump into $database"
