"""What work costs: processor time of process trees, and Postgres's counters of one database."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg

from harness.processes import tree_seconds


@dataclass(frozen=True, kw_only=True)
class CostMeter:
    """Reads processor time by kind of process and, if there is a server `postgres`, the counters of a database."""

    database: psycopg.Connection
    redis: int
    postgres: int | None

    def read(self, **kinds: Iterable[int]) -> dict[str, float]:
        """Seconds by kind of process, with `redis` and `postgres`, and the bytes of `wal` since the cluster began."""
        found: dict[str, float] = {}
        if self.postgres is not None:
            # First, so that no cost of this read is in the seconds.
            wal = self.database.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
            found["wal"] = float(wal[0]) if wal else 0.0
            kinds["postgres"] = [self.postgres]
        kinds["redis"] = [self.redis]
        return found | {kind: tree_seconds(pids) for kind, pids in kinds.items()}

    def counters(self) -> dict[str, float]:
        """Commits and written tuples of the database. A session reports them when it ends, or up to 10 s late."""
        if self.postgres is None:
            return {}
        query = """SELECT xact_commit, tup_inserted, tup_updated, tup_deleted
            FROM pg_stat_database WHERE datname = current_database()"""
        row = self.database.execute(query).fetchone() or (0, 0, 0, 0)
        return dict(zip(("commits", "inserted", "updated", "deleted"), map(float, row), strict=True))

    def wait_for_others(self, sessions: int, *, seconds: float = 5.0) -> int:
        """Wait until at most so many other sessions use the database; returns how many there are."""
        query = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
        deadline = time.monotonic() + seconds
        while True:
            [others] = self.database.execute(query).fetchone() or (0,)
            if others <= sessions or time.monotonic() > deadline:
                return int(others)
            time.sleep(0.02)


def spent(before: Mapping[str, float], after: Mapping[str, float], tasks: int) -> dict[str, float]:
    """Costs per task between two readings: microseconds by kind of process, and bytes of WAL."""
    scale = {kind: 1.0 if kind == "wal" else 1e6 for kind in after}
    return {kind: (after[kind] - before[kind]) * scale[kind] / tasks for kind in after}
