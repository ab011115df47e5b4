"""The system under test, as far as the harness knows it.

A target can start worker pools, submit tasks, say how many of them are not finished, and bear witness at
the end. The harness finds targets by entry point (`harness.targets`) or by an import path
`package.module:NAME`, and knows nothing else about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.environments.base import Endpoints
from harness.history import Operation


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """One task of a workload: its number, how long its handler works (seconds), and the gate it waits at,
    if any.

    Tasks with the same `lock` key must run one at a time; `priority` is `high` or `low`. A target that knows neither
    ignores them, and then the checkers of both say what comes of it.
    """

    number: int
    work: float = 0.0
    gate: str | None = None
    lock: str | None = None
    priority: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSettings:
    """What a scenario wants of the pools that it starts. Times are seconds.

    `history` is the folder the workers record into and `gate_address` the Unix socket of the run's gates (see
    `harness.gate`); `folder` is for working files and is removed at the end; `queue` names this run's own
    queue.
    """

    queue: str
    folder: Path
    history: Path
    gate_address: str
    workers: int = 2
    concurrency: int = 4
    lease: float = 5.0
    graceful_shutdown: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What became of one submitted task: `activity` when the target acknowledged it, else the error.

    `certain` is True where a failed submission certainly took no effect; otherwise its outcome is unknown.
    """

    number: int
    activity: str | None = None
    error: str | None = None
    certain: bool = False


class PoolHandle(Protocol):
    """One running pool: a parent process with its worker processes."""

    @property
    def pid(self) -> int:
        """Process id of the parent."""
        ...

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are alive now."""
        ...

    def wait(self, timeout: float) -> int | None:
        """Exit code of the parent (negative for a signal) once it ended, None if it has not within
        `timeout` seconds.
        """
        ...

    def log(self) -> str:
        """What the pool wrote to its output so far."""
        ...


class TargetSession(Protocol):
    """A target on given endpoints, for one scenario."""

    def start_pool(self) -> PoolHandle:
        """Start one pool; returns when its workers take tasks, raises `TargetFailed` with its log
        otherwise.
        """
        ...

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks, in order; never raises for a failed submission, it is part of the answer."""
        ...

    def unfinished(self) -> int:
        """How many submitted tasks the system itself does not call finished yet; raises `TargetFailed`."""
        ...

    def witnesses(self) -> Iterable[Operation]:
        """`transition`, `record` and `queue` operations, read from Postgres and Redis after the drain."""
        ...

    def close(self) -> None:
        """Let go of connections. Pools are stopped by the runner."""
        ...


class Target(Protocol):
    """A system that can be put under test."""

    @property
    def name(self) -> str:
        """The name on the command line and in reports."""
        ...

    def version(self) -> str:
        """Version of the system under test."""
        ...

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        """Prepare the servers (schema and so on) and return a session; raises `TargetFailed`."""
        ...
