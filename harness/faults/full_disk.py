"""Faults that fill the disk of a server: Postgres cannot extend a file, and Redis cannot append to its file."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from psycopg import errors, sql

from harness.environments.base import DiskLimits, Environment, FileAccess, Service
from harness.environments.redis_connection import RedisConnection
from harness.errors import GateError, HarnessError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.postgres_states import (
    MOST_WAIT_SECONDS,
    TABLES_IN_USE,
    Connection,
    moments,
    postgres_of,
)
from harness.faults.process import some_workers, wait_until
from harness.faults.redis_memory import redis_of
from harness.faults.redis_states import refusing
from harness.faults.redis_tail import append_only_files
from harness.history import InjectionKind
from harness.history.promises import Loss

_TABLESPACE = "harness_small_disk"
# Redis tries again once a second.
_REDIS_SECONDS = 10.0
_REFUSED = "No space left on device"


@dataclass(frozen=True, kw_only=True, slots=True)
class FillDisk:
    """The disk of a server is full for `seconds`.

    The tables of Postgres are on a small file system meanwhile, which is filled: a statement that has to extend a file
    is refused ("could not extend file"). Its log is on another disk: a full one lets Postgres PANIC and recover, as
    `RestartServer` does. Redis cannot append to its file, and refuses every write ("MISCONF").
    """

    service: Service
    at: float
    seconds: float = 1.5
    gated: bool = False
    kind: InjectionKind = InjectionKind.OTHER

    @property
    def name(self) -> str:
        """The name in the history."""
        return f"fill-disk-of-{self.service}"

    @property
    def loss(self) -> Loss:
        """A full disk of the database if the server is Postgres, else of the broker."""
        return Loss.DATABASE_DISK_FULL if self.service == "postgres" else Loss.BROKER_DISK_FULL

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _servers(context)
        return Aim(pids=(), pool=some_workers(context)[0], value={"seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Fill the disk, wait, and free it; raises `GateError` if there is none to fill, or if no write is refused."""
        servers = _servers(context)
        with _full_postgres(servers) if self.service == "postgres" else _full_redis(servers):
            time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the injection frees the disk, and raises `HarnessError` if it cannot."""


class _Servers(Environment, DiskLimits, FileAccess, Protocol):
    """What the fault needs of an environment."""


def _servers(context: FaultContext) -> _Servers:
    servers: Any = context.environment
    if not isinstance(servers, DiskLimits) or not isinstance(servers, FileAccess):
        raise UsageError(
            "This fault fills the disk of a server, which this backend cannot do. "
            "Choose --backend embedded or containers."
        )
    return cast("_Servers", servers)


@contextmanager
def _full_postgres(servers: _Servers) -> Iterator[None]:
    refused = servers.logs("postgres").count(_REFUSED)
    disk = servers.small_disk("postgres")
    with postgres_of(servers.endpoints) as postgres:
        # What the fault itself is refused is not in the log.
        postgres.execute("SET log_min_messages = panic")
        with _on_disk(postgres, f"{disk}/{_TABLESPACE}"), _filled(postgres):
            yield
    if servers.logs("postgres").count(_REFUSED) == refused:
        raise GateError(
            "Postgres had nothing to strike: it extended no file. "
            "Run this fault on a target that uses Postgres, with more tasks."
        )


@contextmanager
def _on_disk(postgres: Connection, folder: str) -> Iterator[None]:
    """All tables and indexes are in this folder, and afterwards where they were."""
    made = sql.Literal(f"mkdir -p {shlex.quote(folder)}")
    postgres.execute(sql.SQL("COPY (SELECT 1) TO PROGRAM {}").format(made))
    space = sql.Identifier(_TABLESPACE)
    postgres.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(space, sql.Literal(folder)))
    drop = sql.SQL("DROP TABLESPACE {}").format(space)
    try:
        _move_there(postgres, space)
    except BaseException:
        postgres.execute(drop)
        raise
    try:
        yield
    finally:
        if not _moved(postgres, space, sql.Identifier("pg_default")):
            raise HarnessError(
                f"The tables of Postgres are still on the disk that was full, after {MOST_WAIT_SECONDS:g} s. "
                "See its log."
            )
        postgres.execute(drop)


def _move_there(postgres: Connection, space: sql.Identifier) -> None:
    try:
        moved = _moved(postgres, sql.Identifier("pg_default"), space)
    except errors.DiskFull:
        raise GateError(
            "the tables of Postgres do not fit on the small disk. Run this fault earlier."
        ) from None
    if not moved:
        raise GateError(TABLES_IN_USE)


def _moved(postgres: Connection, source: sql.Identifier, to: sql.Identifier) -> bool:
    """Move everything at a moment when no table is in use; False without one."""
    move = sql.SQL("ALTER {} ALL IN TABLESPACE {} SET TABLESPACE {} NOWAIT")
    for _ in moments():
        with suppress(errors.ObjectInUse, errors.LockNotAvailable), postgres.transaction():
            for kind in ("TABLE", "INDEX"):
                postgres.execute(move.format(sql.SQL(kind), source, to))
            return True
    return False


@contextmanager
def _filled(postgres: Connection) -> Iterator[None]:
    """A table of the harness takes all the space that is left, down to the last page."""
    space = sql.Identifier(_TABLESPACE)
    postgres.execute(sql.SQL("CREATE UNLOGGED TABLE harness_filler (x text) TABLESPACE {}").format(space))
    try:
        postgres.execute("ALTER TABLE harness_filler ALTER x SET STORAGE PLAIN")
        # A long statement extends a file by many pages at a time, and leaves less than that.
        for rows in (100_000, 1, 1):
            with suppress(errors.DiskFull):
                while True:
                    postgres.execute(
                        "INSERT INTO harness_filler SELECT repeat('x', 7900) FROM generate_series(1, %s)",
                        [rows],
                    )
        yield
    finally:
        postgres.execute("DROP TABLE harness_filler")


@contextmanager
def _full_redis(servers: _Servers) -> Iterator[None]:
    *_, appended = append_only_files(servers.endpoints).appended(servers).values()
    size = len(appended)
    with redis_of(servers.endpoints) as redis, refusing(redis, "MISCONF"):
        with servers.limited_files("redis", size):
            yield
        if not wait_until(lambda: _appends(redis), _REDIS_SECONDS):
            raise HarnessError(
                f"Redis does not append to its file {_REDIS_SECONDS:g} s after the heal. See its log."
            )


def _appends(redis: RedisConnection) -> bool:
    return redis.info("persistence")["aof_last_write_status"] == "ok"
