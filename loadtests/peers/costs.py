"""What work costs: processor time of process trees from /proc, and Postgres's counters of one database."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessTime(NamedTuple):
    """The parent of a process, and its seconds of processor time with those of its ended children."""

    parent: int
    seconds: float


def process_time(stat: str) -> ProcessTime:
    """Read the content of /proc/PID/stat."""
    # The name of the program may contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return ProcessTime(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def all_process_times() -> dict[int, ProcessTime]:
    """The running processes of the machine."""
    found: dict[int, ProcessTime] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = process_time((folder / "stat").read_text("utf-8", "replace"))
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
    return found


def tree_seconds(times: Mapping[int, ProcessTime], roots: Iterable[int]) -> float:
    """Seconds of processor time of some processes and all below them."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, one in times.items():
        children[one.parent].append(pid)
    total, left = 0.0, [root for root in roots if root in times]
    while left:
        pid = left.pop()
        total += times[pid].seconds
        left += children[pid]
    return total


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
        times = all_process_times()
        return found | {
            kind: tree_seconds(times, pids) for kind, pids in {**kinds, "redis": [self.redis]}.items()
        }

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
