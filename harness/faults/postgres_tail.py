"""A crash of the host of Postgres that takes what it has not flushed: commits of sessions that did not wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.environments.base import Service
from harness.errors import GateError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.postgres_states import RELOAD, Connection, alter_system, postgres_of
from harness.faults.process import some_workers
from harness.faults.restarting import killable
from harness.history import InjectionKind
from harness.history.promises import Loss

DOWN_SECONDS = 0.5
# The WAL writer flushes what no session waits for: at the longest interval, and not for an amount of it.
_LATE_WRITER = {"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LosePostgresTail:
    """Every process of Postgres is killed after `lag` seconds in which the WAL writer did not flush.

    A commit with `synchronous_commit = off` is acknowledged before its WAL leaves the memory of the server. A crash
    then loses the commits since the last flush: as the settings allow, those of up to three times `wal_writer_delay`
    (0.2 s by default, 10 s at most). A commit that waits for its flush, and all before it, are kept.
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
        """No process; the operation names the oldest running pool."""
        killable(context)
        return Aim(pids=(), pool=some_workers(context)[0], value={"lag": self.lag, "seconds": self.lag})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Hold the WAL writer, wait, and kill the server; raises `GateError` if it wrote nothing meanwhile."""
        assert context.environment is not None, "it can be killed"
        with postgres_of(context.environment.endpoints) as postgres:
            before = alter_system(postgres, _LATE_WRITER)
            try:
                postgres.execute(RELOAD)
                written, _ = _written(postgres)
                time.sleep(self.lag)
            finally:
                # The running server does not read it; it holds from the next start on.
                alter_system(postgres, before)
            now, aim.found["unflushed_bytes"] = _written(postgres)
            killable(context).kill("postgres")
        time.sleep(DOWN_SECONDS)
        if now == written:
            raise GateError(
                f"Postgres wrote nothing in {self.lag:g} s that could be lost. Run this fault on a target that uses it."
            )

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start Postgres, which recovers from its WAL; returns once it answers."""
        killable(context).restart("postgres")


def _written(postgres: Connection) -> tuple[int, int]:
    """How many bytes of WAL the server has made, and how many of them it has not flushed."""
    row = postgres.execute(
        "SELECT pg_current_wal_insert_lsn() - '0/0', pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()"
    ).fetchone()
    assert row is not None, "it has no condition"
    return int(row[0]), int(row[1])
