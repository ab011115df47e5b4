"""Checks of the Postgres server: version, TLS, durability, vacuum, clocks, and what it counted."""

from __future__ import annotations

from functools import partial

from harness.doctor.area import Area
from harness.doctor.check import (
    Box,
    CheckFinding,
    alter_system,
    check,
    failed,
    passed,
    psql,
    warned,
    within,
)
from harness.doctor.installation import Installation, is_local
from harness.environments.base import MINIMUM_POSTGRES

_postgres = partial(check, area=Area.POSTGRES)
MOST_DEAD_ROWS, FEW_ROWS = 0.2, 10_000
LONG_TRANSACTION, VERY_LONG_TRANSACTION = 60.0, 3600.0  # seconds; one of agentexec takes milliseconds
TIMEOUTS = (
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
)
SHORTEST_TIMEOUT = 1.0  # seconds
CLOCK_WARN, CLOCK_FAIL = 1.0, 15.0  # seconds


@_postgres(
    "postgres.answers",
    asks="Does the database accept a connection within 2 s?",
    why="Without it no task is recorded, and the other checks of Postgres cannot be answered.",
    remedy="Correct DATABASE_URL, start the server, or open the network to it.",
)
def answers(site: Installation) -> CheckFinding:
    """The address as the server sees it is not shown: it may be internal."""
    info = site.postgres.connection.info
    return passed(f"connected to database {info.dbname} as {info.user}")


@_postgres(
    "postgres.version",
    asks="Is the server PostgreSQL 14 or newer?",
    why="agentexec refuses to start on an older server.",
    remedy="Upgrade the server.",
)
def version(site: Installation) -> CheckFinding:
    """The number of the version that libpq has."""
    return of_version(site.postgres.connection.info.server_version)


def of_version(number: int) -> CheckFinding:
    """The finding for a version such as 180006."""
    seen = f"PostgreSQL {number // 10_000}.{number % 10_000}"
    return passed(seen) if number // 10_000 >= MINIMUM_POSTGRES[0] else failed(seen)


@_postgres(
    "postgres.tls",
    box=Box.POSTGRES_TLS,
    asks="Is this very connection encrypted?",
    why="Contexts, results and the password cross the network in clear text.",
    remedy="Set ssl = on with a certificate, and add sslmode=verify-full (at least require) to DATABASE_URL.",
)
def tls(site: Installation) -> CheckFinding:
    """Asks libpq, because a pooler answers pg_stat_ssl for its own connection."""
    connection = site.postgres.connection
    if connection.pgconn.ssl_in_use:
        mode = connection.info.get_parameters().get("sslmode", "prefer")
        verified = (
            "the server's name is verified" if mode == "verify-full" else f"sslmode={mode} verifies no name"
        )
        return passed(f"encrypted; {verified}")
    return unencrypted(connection.info.hostaddr or connection.info.host)


def unencrypted(host: str) -> CheckFinding:
    """The finding for a connection in clear text to this host, which is empty for a Unix socket."""
    return warned("not encrypted, on this machine only") if is_local(host) else failed("not encrypted")


@_postgres(
    "postgres.primary",
    asks="Is the server a primary that accepts writes?",
    why="No task can be recorded on a standby or under default_transaction_read_only.",
    remedy="Connect to the primary: add target_session_attrs=read-write to DATABASE_URL.",
    scenario="read-only-postgres",
)
def primary(site: Installation) -> CheckFinding:
    """The doctor's own transactions are read-only, so it asks for the default of new sessions."""
    row = site.postgres.row(
        "SELECT pg_is_in_recovery() AS standby, reset_val FROM pg_settings"
        " WHERE name = 'default_transaction_read_only'"
    )
    if row.standby:
        return failed("a standby")
    return failed("default_transaction_read_only is on") if row.reset_val == "on" else passed("a primary")


@_postgres(
    "postgres.archiving",
    box=Box.BACKUPS,
    asks="Can a backup reach any point in time: wal_level, archive_mode, no failing archive command?",
    why="A daily dump alone loses up to a day of tasks; a failing archive command also fills the disk with WAL.",
    remedy="Set archive_mode = on with an archive_command and restart, or run a streaming receiver (pg_receivewal).",
    commands=(psql("ALTER SYSTEM SET archive_mode = on"),),
    scenario="backup-and-restore-under-load",
)
def archiving(site: Installation) -> CheckFinding:
    """FAIL only for an archive that fails; without an archive, dumps may still be enough."""
    level, mode = site.postgres.setting("wal_level"), site.postgres.setting("archive_mode")
    if mode != "off":
        state = site.postgres.row(
            "SELECT failed_count, last_failed_time > coalesce(last_archived_time, '-infinity') AS failing"
            " FROM pg_stat_archiver"
        )
        if state.failing:
            return failed(
                f"the archive command fails ({state.failed_count:,} times)", "Repair archive_command."
            )
        return passed(f"wal_level {level}, archive_mode {mode}")
    return warned(f"wal_level {level}, archive_mode off: only dumps")


@_postgres(
    "postgres.checksums",
    asks="Does the server notice a page that the disk changed?",
    why="Without checksums, a damaged page is read as if it were right, and copied into every backup.",
    remedy="Stop the server and run pg_checksums --enable.",
)
def checksums(site: Installation) -> CheckFinding:
    """WARN only: it needs a stop."""
    value = site.postgres.setting("data_checksums")
    return passed("data_checksums on") if value == "on" else warned(f"data_checksums {value}")


@_postgres(
    "postgres.autovacuum",
    asks="Is autovacuum on, for the server and for agentexec's tables?",
    why="Each task leaves dead versions of its row: without vacuum, every scan for work reads all of them.",
    remedy="Set autovacuum = on and track_counts = on, and reset autovacuum_enabled of the tables.",
    commands=(*alter_system("autovacuum", "on"), psql("ALTER SYSTEM SET track_counts = on")),
)
def autovacuum(site: Installation) -> CheckFinding:
    """A table's own setting wins over the server's."""
    from agentexec.store.models import OWN_TABLES

    off = [name for name in ("autovacuum", "track_counts") if site.postgres.setting(name) == "off"]
    if off:
        return failed(f"{' and '.join(off)} off")
    tables = site.postgres.rows(
        "SELECT relname FROM pg_class WHERE relname = ANY(%(names)s)"
        " AND EXISTS (SELECT FROM unnest(reloptions) AS o WHERE o IN ('autovacuum_enabled=false',"
        " 'autovacuum_enabled=off', 'autovacuum_enabled=no', 'autovacuum_enabled=0'))",
        names=[table.name for table in OWN_TABLES],
    )
    repair = [psql(f"ALTER TABLE {row.relname} RESET (autovacuum_enabled)") for row in tables]
    off_for = ", ".join(row.relname for row in tables)
    return failed(f"off for {off_for}", "", *repair) if tables else passed("on for the server and the tables")


@_postgres(
    "postgres.long-transactions",
    asks="Is no transaction open for longer than a minute?",
    why="Vacuum removes nothing that an open transaction may still see, so scans for work slow down with each task.",
    remedy="End the session, and set idle_in_transaction_session_timeout for the role that left it open.",
    commands=alter_system("idle_in_transaction_session_timeout", "'5min'"),
)
def long_transactions(site: Installation) -> CheckFinding:
    """The oldest transaction or snapshot of all sessions; ages of other roles need pg_read_all_stats."""
    row = site.postgres.row(
        """SELECT coalesce(extract(epoch FROM max(now() - xact_start)), 0)::float8 AS oldest,
            coalesce(extract(epoch FROM max(now() - xact_start)
                FILTER (WHERE state LIKE 'idle in transaction%%')), 0)::float8 AS idle,
            pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS of_all
        FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
            AND datname = current_database()"""
    )
    seen = f"the oldest transaction is {row.oldest:,.0f} s old, idle in one for {row.idle:,.0f} s"
    seen += "" if row.of_all else " (of this role; others need pg_read_all_stats)"
    return within(row.oldest, warn=LONG_TRANSACTION, fail=VERY_LONG_TRANSACTION, seen=seen)


@_postgres(
    "postgres.held-snapshots",
    asks="Does no replication slot without a client, and no prepared transaction, hold rows and log back?",
    why="The server keeps all of its log for such a slot until the disk is full, and vacuum removes nothing.",
    remedy="Start the slot's client, or drop the slot; end the prepared transaction.",
    scenario="fill-disk",
)
def held_snapshots(site: Installation) -> CheckFinding:
    """WARN: the client of a slot may be back soon."""
    rows = site.postgres.rows(
        """SELECT 'slot ' || slot_name AS place, format('SELECT pg_drop_replication_slot(%%L)', slot_name) AS repair
            FROM pg_replication_slots WHERE NOT active AND coalesce(xmin::text, restart_lsn::text) IS NOT NULL
        UNION ALL SELECT 'prepared transaction ' || gid, format('ROLLBACK PREPARED %%L', gid)
            FROM pg_prepared_xacts WHERE prepared < now() - interval '1 minute'"""
    )
    repair = [psql(row.repair) for row in rows]
    return warned(", ".join(row.place for row in rows), "", *repair) if rows else passed("none does")


@_postgres(
    "postgres.clock",
    asks="Does the server's clock agree with this machine's?",
    why="Ages, delays and retention are compared with the server's clock; a producer's clock is in every id.",
    remedy="Run a time service (chrony, systemd-timesyncd) on both machines.",
    scenario="jump-clock",
)
def clock(site: Installation) -> CheckFinding:
    """Exact to half a round trip."""
    return clocks_agree(site.postgres.clock_offset())


def clocks_agree(offset: float) -> CheckFinding:
    """The finding for a clock that is `offset` seconds ahead."""
    return within(abs(offset), warn=CLOCK_WARN, fail=CLOCK_FAIL, seen=f"{offset:+.1f} s from this machine's")


@_postgres(
    "postgres.time-zone",
    asks="Is the session's time zone UTC?",
    why="agentexec stores times with their zone, but a clean-up with naive dates deletes too early or too late.",
    remedy="Set timezone = 'UTC' for the role or the server, or use times with a zone.",
    commands=alter_system("timezone", "'UTC'"),
)
def time_zone(site: Installation) -> CheckFinding:
    """Zones that are UTC by another name pass."""
    zone = site.postgres.setting("TimeZone") or ""
    utc = zone.rpartition("/")[2].upper() in ("UTC", "GMT", "UCT", "ZULU", "UNIVERSAL")
    return passed(zone) if utc else warned(zone)


@_postgres(
    "postgres.encoding",
    asks="Is the database encoded in UTF8?",
    why="A context or an error message with other characters cannot be stored, so the task fails.",
    remedy="Create a database with ENCODING 'UTF8' TEMPLATE template0, and restore a dump into it.",
)
def encoding(site: Installation) -> CheckFinding:
    """The encoding of the server's side."""
    found = site.postgres.setting("server_encoding")
    return passed("UTF8") if found == "UTF8" else failed(f"{found}")


@_postgres(
    "postgres.timeouts",
    asks="Does no time-out of the server, the database or the role end agentexec's statements and sessions?",
    why="A statement that is canceled is sent again, and canceled again: tasks wait although workers are free.",
    remedy="Set the time-outs to 0, or longer than a lease (AGENTEXEC_LEASE_SECONDS).",
    scenario="cancel-statements",
)
def timeouts(site: Installation) -> CheckFinding:
    """FAIL below a second, WARN below a lease; the value with which a session of this role begins."""
    found = site.postgres.rows(
        "SELECT name, reset_val::float8 / 1000 AS seconds FROM pg_settings"
        " WHERE name = ANY(%(names)s) AND reset_val <> '0' ORDER BY name",
        names=list(TIMEOUTS),
    )
    short = [row for row in found if row.seconds < site.settings.lease_seconds]
    seen = ", ".join(f"{row.name} {row.seconds:g} s" for row in short or found)
    if any(row.seconds < SHORTEST_TIMEOUT for row in short):
        return failed(seen)
    return warned(seen) if short else passed(seen or "none is set")


@_postgres(
    "postgres.deadlocks",
    asks="Has the database counted no deadlock?",
    why="Postgres ends one of the transactions after 1 s, and every task of its batch is late by as much.",
    remedy="See the server's log for the statements. agentexec locks in the order of ids; so must other code.",
    scenario="storm-deadlocks",
)
def deadlocks(site: Installation) -> CheckFinding:
    """Since the statistics were reset."""
    count = site.postgres.row(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ).deadlocks
    return warned(f"{count:,} since the last reset") if count else passed("none")


@_postgres(
    "postgres.connections",
    box=Box.POOLING,
    asks="Are max_connections, and the limits of role and database, enough for all pools, workers and API servers?",
    why="Without a free connection workers cannot record, and producers get an error.",
    remedy="Raise max_connections, use PgBouncer, or run fewer workers (docs/howto/doctor.md, Connections).",
    scenario="exhaust-connections",
)
def connections(site: Installation) -> CheckFinding:
    """The formula of docs/howto/doctor.md, against what is left for ordinary roles beside other applications."""
    row = site.postgres.row(
        """SELECT least(current_setting('max_connections')::int
                - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true), '0')::int,
                (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
                (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())) AS places,
            (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
                AND pid <> pg_backend_pid() AND application_name NOT LIKE 'agentexec%%') AS others"""
    )
    options, settings = site.options, site.settings
    least = options.pools * connections_of_pool(settings.num_workers, monitored=settings.metrics_port > 0)
    least += options.api_servers * (CLIENT + HEALTH)
    most = least + options.pools * settings.num_workers * CLIENT
    free = row.places - row.others
    seen = (
        f"{options.pools} pools of {settings.num_workers} workers and {options.api_servers} API servers use up to "
        f"{least}, {most} if handlers enqueue; {free} of {row.places} are free for them"
    )
    return failed(seen) if least > free else warned(seen) if most > free else passed(seen)


# The most connections of each engine: its pool and the overflow.
WORKER, PARENT, HEALTH = 2, 4, 4
CLIENT = 8 + 4  # for reading and by the enqueuer


def connections_of_pool(workers: int, *, monitored: bool) -> int:
    """The most connections of one pool whose handlers do not enqueue."""
    return workers * WORKER + PARENT + (HEALTH if monitored else 0)
