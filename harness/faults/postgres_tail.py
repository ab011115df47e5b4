"""A crash of the host of Postgres that takes what it has not flushed: commits of sessions that did not wait for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import LiteralString

from harness.environments.base import Service
from harness.errors import GateError
from harness.faults.backends import COUNT_SESSIONS
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.postgres_states import (
    NO_CONNECTION,
    RELOAD,
    Connection,
    alter_system,
    count_of,
    postgres_of,
)
from harness.faults.process import some_workers, wait_until
from harness.faults.restarting import killable
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import descendants, send

DOWN_SECONDS = 0.5
# The WAL writer flushes what no session waits for: at the longest interval, and not for an amount of it.
_LATE_WRITER = {"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}
_UNFLUSHED: LiteralString = "SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()"


@dataclass(frozen=True, kw_only=True, slots=True)
class LosePostgresTail:
    """Every process of Postgres is killed after `lag` seconds in which nothing was flushed that no session waits for.

    A commit with `synchronous_commit = off` is acknowledged before its WAL leaves the memory of the server. A crash
    then loses the commits since the last flush: as the settings allow, those of up to three times `wal_writer_delay`
    (0.2 s by default, 10 s at most). A commit that waits for its flush keeps all before it too. So the pools stand
    still meanwhile: they commit all the time, and the loss would be down to chance.
    Source: "Asynchronous Commit", https://www.postgresql.org/docs/current/wal-async-commit.html.
    """

    at: float
    lag: float = 1.0
    gated: bool = False
    name: str = "lose-postgres-tail"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.DATABASE_TAIL_LOST
    service: Service = "postgres"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest pool. Raises `GateError` if Postgres has no connection to lose."""
        killable(context)
        pool = some_workers(context)[0]
        with _connected(context) as postgres:
            # Clients come back a moment after the fault before.
            if not wait_until(lambda: count_of(postgres, COUNT_SESSIONS) > 0, context.patience):
                raise GateError(NO_CONNECTION)
        return Aim(pids=(), pool=pool, value={"lag": self.lag, "seconds": self.lag})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Hold the WAL writer and the pools, wait, kill the server, and let the pools go on."""
        with _connected(context) as postgres, _standing_still(context):
            before = alter_system(postgres, _LATE_WRITER)
            try:
                postgres.execute(RELOAD)
                time.sleep(self.lag)
            finally:
                # The running server does not read it; it holds from the next start on.
                alter_system(postgres, before)
            aim.found["unflushed_bytes"] = count_of(postgres, _UNFLUSHED)
            killable(context).kill("postgres")
        time.sleep(DOWN_SECONDS)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start Postgres, which recovers from its WAL; returns once it answers."""
        killable(context).restart("postgres")


@contextmanager
def _standing_still(context: FaultContext) -> Iterator[None]:
    """All processes of the pools are stopped inside the context."""
    pids = [pid for pool in context.pools.running() for pid in (pool.pid, *descendants(pool.pid))]
    try:
        send(pids, signal.SIGSTOP)
        yield
    finally:
        send(pids, signal.SIGCONT)


def _connected(context: FaultContext) -> AbstractContextManager[Connection]:
    assert context.environment is not None, "it can be killed"
    return postgres_of(context.environment.endpoints)
