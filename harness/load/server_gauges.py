"""What Postgres and Redis say of themselves, to any client: no right beyond that of a connection is needed.

A server that refuses one of these questions has no such gauge; the others are sampled. Statements run in transactions
of their own with a local time limit, so that a connection pooler can be in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import LiteralString

import psutil
import psycopg

from harness.environments.base import WATCHING
from harness.environments.redis_connection import RedisConnection
from harness.environments.redis_watching import WatchingConnection
from harness.environments.urls import plain_url
from harness.errors import first_line
from harness.load.process_group import ProcessGroup
from harness.load.resources import WAL, Sample

TIMEOUT_SECONDS = 5
# How far the start of a process may be from what the server says of it, before it is another one.
_CLOCK_SECONDS = 2.0
_REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,  # a standby writes no log of its own
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)
# Each gives a total and its epoch. A position in the log stays after a restart, and statistics end with a crash: then
# those of the whole server are reset, and a database that has none begins without a time of its reset.
_TOTALS: Mapping[str, LiteralString] = {
    WAL: "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), ''",
    "Postgres commits": """SELECT xact_commit, concat_ws(' ', one.stats_reset, whole.stats_reset)
        FROM pg_stat_database one, pg_stat_bgwriter whole WHERE datname = current_database()""",
}
_PROCESSES: LiteralString = """SELECT pid, extract(epoch FROM backend_start), ARRAY(SELECT pid FROM pg_stat_activity)
    FROM pg_stat_activity WHERE pid = pg_backend_pid()"""
ELSEWHERE = "the processes of the server are not on this machine"


class PostgresSampler:
    """Write-ahead log and commits of a server, and its processes if they are on this machine."""

    names: Sequence[str] = (*_TOTALS, "Postgres CPU", "Postgres memory")

    def __init__(self, url: str) -> None:
        self._url = plain_url(url)
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._refused: dict[str, str] = {}
        self._group = ProcessGroup()

    def sample(self) -> Sample:
        sample = Sample()
        for name, query in _TOTALS.items():
            if (row := self._ask(query, name)) is not None:
                sample.totals[name], sample.epochs[name] = float(str(row[0])), str(row[1])
        self._look_at_processes(sample)
        sample.notes |= self._refused
        return sample

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, query: LiteralString, *names: str) -> tuple[object, ...] | None:
        """The row of a query; None if the server refuses it, which is noted for these gauges."""
        if names[0] in self._refused:
            return None
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                connect_timeout=TIMEOUT_SECONDS,
                autocommit=True,
                prepare_threshold=None,
                fallback_application_name=WATCHING,
            )
        try:
            with self._connection.transaction():
                self._connection.execute(f"SET LOCAL statement_timeout = '{TIMEOUT_SECONDS}s'")
                return self._connection.execute(query).fetchone()
        except _REFUSED as error:
            self._refused |= dict.fromkeys(names, f"the server refuses it: {first_line(error).rstrip('.')}")
            return None

    def _look_at_processes(self, sample: Sample) -> None:
        names = ("Postgres CPU", "Postgres memory")
        row = self._ask(_PROCESSES, *names)
        if row is None:
            return
        pid, started, pids = int(str(row[0])), float(str(row[1])), row[2]
        parent = _parent_of_backend(pid, started)
        if parent is None or not isinstance(pids, list):
            sample.notes |= dict.fromkeys(names, ELSEWHERE)
            return
        cpu, memory = self._group.look(pids, parent=parent)
        sample.totals["Postgres CPU"], sample.levels["Postgres memory"] = cpu, memory


def _parent_of_backend(pid: int, started: float) -> int | None:
    """The process of the server if its backend is on this machine; a process id of elsewhere means another process."""
    try:
        backend = psutil.Process(pid)
        named = any(name in backend.name() for name in ("postgres", "postmaster"))
        same = abs(backend.create_time() - started) <= _CLOCK_SECONDS
        return backend.ppid() if named and same else None
    except psutil.Error:
        return None


class RedisClient:
    """A client of a server that connects when it is asked, also after `close`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: RedisConnection | None = None

    @property
    def connection(self) -> RedisConnection:
        """The connection; raises `RedisFailure` if the server does not answer."""
        self._connection = self._connection or WatchingConnection(self._url, timeout=TIMEOUT_SECONDS)
        return self._connection

    def close(self) -> None:
        """Disconnect; may be called twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class RedisSampler(RedisClient):
    """CPU, memory and commands of a server by its INFO."""

    names: Sequence[str] = ("Redis CPU", "Redis memory", "Redis commands")

    def sample(self) -> Sample:
        info = self.connection.info("default")
        cpu = ("used_cpu_sys", "used_cpu_user")
        sample = Sample()
        if all(name in info for name in cpu):
            sample.totals["Redis CPU"] = sum(float(info[name]) for name in cpu)
        if "total_commands_processed" in info:
            sample.totals["Redis commands"] = float(info["total_commands_processed"])
        sample.epochs = dict.fromkeys(sample.totals, str(info.get("run_id", "")))
        if "used_memory" in info:
            sample.levels["Redis memory"] = float(info["used_memory"])
        for name in self.names:
            if name not in sample.levels and name not in sample.totals:
                sample.notes[name] = "the INFO of the server does not have it"
        return sample
