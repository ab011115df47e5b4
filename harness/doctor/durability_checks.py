"""Checks of what Postgres keeps through a crash or a failover, and how long a commit waits for that."""

from __future__ import annotations

from functools import partial

from harness.doctor.area import Area
from harness.doctor.check import (
    RELOAD,
    CheckFinding,
    alter_system,
    check,
    failed,
    passed,
    psql,
    skipped,
    warned,
)
from harness.doctor.installation import Installation
from harness.doctor.unanswered import CannotTell

_durability = partial(check, area=Area.POSTGRES)
SLOW_FSYNC_MS, FEW_FSYNCS = 10.0, 100
FAR_BYTES, FAR_SECONDS = 2**26, 10.0
WAL_IN_IO = 180_000  # the version since which pg_stat_io has the WAL


@_durability(
    "postgres.fsync",
    asks="Does the server flush its log to the disk?",
    why="With fsync off, a crash of the machine loses acknowledged tasks or damages the whole cluster.",
    remedy="Set fsync = on.",
    commands=alter_system("fsync", "on"),
    scenario="lose-postgres-tail",
)
def fsync(site: Installation) -> CheckFinding:
    """The setting of the server; no role can change it."""
    return _is_on(site, "fsync")


@_durability(
    "postgres.full-page-writes",
    asks="Are whole pages logged after a checkpoint?",
    why="A page that was half written at a crash cannot be repaired.",
    remedy="Set full_page_writes = on.",
    commands=alter_system("full_page_writes", "on"),
)
def full_page_writes(site: Installation) -> CheckFinding:
    """The setting of the server."""
    return _is_on(site, "full_page_writes")


@_durability(
    "postgres.synchronous-commit",
    asks="Do commits wait for the disk, by the settings of the server, the database and the role?",
    why="With off, a crash loses the last commits. agentexec sets it back for its own sessions, but behind a pooler in "
    "transaction mode a session keeps no setting.",
    remedy="Set synchronous_commit = on where it is off.",
    scenario="lose-postgres-tail",
)
def synchronous_commit(site: Installation) -> CheckFinding:
    """The value with which a session of this role begins in this database, and every level that says off."""
    off = site.postgres.rows(
        """SELECT 'SYSTEM' AS place, 1 AS n FROM pg_settings
            WHERE name = 'synchronous_commit' AND setting = 'off' AND source IN ('configuration file', 'command line')
        UNION ALL SELECT CASE WHEN d.setrole = 0 THEN 'DATABASE ' || quote_ident(current_database())
            ELSE 'ROLE ' || quote_ident(current_user) END, 2
        FROM pg_db_role_setting AS d
        WHERE (d.setrole = 0 OR d.setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user))
            AND (d.setdatabase = 0 OR d.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND 'synchronous_commit=off' = ANY (d.setconfig)"""
    )
    if not off:
        return passed(f"synchronous_commit is {site.postgres.setting('synchronous_commit')}")
    repair = [psql(f"ALTER {row.place} SET synchronous_commit = on") for row in off]
    return warned(f"off for {', '.join(row.place for row in off)}", "", *repair, RELOAD)


@_durability(
    "postgres.fsync-time",
    asks="Does one flush of the log take at most 10 ms?",
    why="Each commit waits for one: a client that commits one task after the other gets no more than 1 / that time.",
    remedy="Put pg_wal on a disk with a write cache that survives a loss of power; see pg_test_fsync.",
)
def fsync_time(site: Installation) -> CheckFinding:
    """The mean since the statistics were reset: each process flushes alone, so it is the time at queue depth 1."""
    postgres = site.postgres
    if postgres.setting("fsync") == "off":
        raise CannotTell("fsync is off (postgres.fsync)")
    if postgres.setting("track_wal_io_timing") != "on":
        raise CannotTell(
            f"the server does not measure it; {'; '.join(alter_system('track_wal_io_timing', 'on'))}"
        )
    if postgres.connection.info.server_version >= WAL_IN_IO:
        source = "sum(fsyncs) AS count, sum(fsync_time) AS ms FROM pg_stat_io WHERE object = 'wal'"
    else:
        source = "wal_sync AS count, wal_sync_time AS ms FROM pg_stat_wal"
    row = postgres.row(f"SELECT {source}")
    return of_fsyncs(int(row.count or 0), float(row.ms or 0.0))


def of_fsyncs(count: int, milliseconds: float) -> CheckFinding:
    """The finding for so many flushes in so many milliseconds."""
    if count < FEW_FSYNCS:
        return skipped(f"only {count} flushes are counted")
    mean = milliseconds / count
    seen = f"{mean:.2f} ms, the mean of {count:,}"
    return warned(seen) if mean > SLOW_FSYNC_MS else passed(seen)


@_durability(
    "postgres.standbys",
    asks="Is each standby close behind the primary?",
    why="What a standby lacks is lost at a failover to it, acknowledged tasks included, unless it is synchronous.",
    remedy="See the log of the standby, its disk and its network; synchronous_standby_names lets commits wait for it.",
    scenario="fail-over-postgres",
)
def standbys(site: Installation) -> CheckFinding:
    """What it has applied of the log; base backups do not count."""
    rows = site.postgres.rows(
        """SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn))::float8 AS bytes,
            extract(epoch FROM coalesce(replay_lag, flush_lag))::float8 AS seconds
        FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'"""
    )
    if not rows:
        return skipped("no standby is connected")
    if any(row.bytes is None for row in rows):
        raise CannotTell(f"the role may not see where {len(rows)} standbys are; that needs pg_read_all_stats")
    bytes_behind, seconds = max(row.bytes for row in rows), max(row.seconds or 0.0 for row in rows)
    seen = f"{len(rows)} standbys, at most {bytes_behind / 2**20:,.0f} MiB and {seconds:,.1f} s behind"
    return warned(seen) if bytes_behind > FAR_BYTES or seconds > FAR_SECONDS else passed(seen)


def _is_on(site: Installation, name: str) -> CheckFinding:
    value = site.postgres.setting(name)
    if value is None:
        return skipped(f"this server has no setting {name}")
    return passed(f"{name} on") if value == "on" else failed(f"{name} {value}")
