"""What the rest of agentexec asks of a queue, free of any server.

The queue is an index of work that Postgres already holds: it may lose everything, and the reconciler rebuilds
it. What it must never do is give one task to two holders of the same token, or let a holder that lost its
token finish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Protocol
from uuid import UUID


class Verb(StrEnum):
    """How a worker ends its claim on a task."""

    DONE = "done"
    RETRY = "retry"
    YIELD = "yield"  # not now, and let others of its lock key go first
    DEAD = "dead"


class Admission(IntEnum):
    """What the queue made of a dispatched task. LATER: it has lost its memory, and takes tasks with a lock
    key again once the healing has brought back those that may still be running.
    """

    FULL = 0
    TAKEN = 1
    LATER = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """A recorded task on its way into the queue. `level` 0 is the highest priority; `delay` is in seconds."""

    task_id: UUID
    payload: bytes
    level: int
    delay: float = 0.0
    lock_key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A task given to a worker under the fencing token `token`; `crashes` earlier holders died with it."""

    task_id: UUID
    token: int
    crashes: int
    level: int
    payload: bytes
    partitioned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """The end of a claim: `delay` (seconds) belongs to RETRY and YIELD, `reason` to DEAD."""

    task_id: UUID
    token: int
    verb: Verb
    delay: float = 0.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """A lease that was taken away: the task and the token that lost its authority."""

    task_id: UUID
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The answer to one `step`.

    `stale` are finishes that were refused because their token had been lost. `reaped` tasks went back to the
    queue because their lease expired, `dead` ones to the dead letters. `next_due` is the time in seconds
    until the queue has something to promote or reap, None if it has not.
    """

    claims: tuple[Claim, ...]
    stale: tuple[Finish, ...]
    reaped: tuple[Revoked, ...]
    dead: tuple[Revoked, ...]
    ready_left: int
    next_due: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueDepth:
    """How many tasks are in each state of the queue; `known` counts all of them.

    `parked` tasks wait behind another one with their lock key. Each known task is in exactly one state.
    """

    ready: int
    leased: int
    scheduled: int
    parked: int
    dead: int
    known: int


def milliseconds(seconds: float) -> int:
    """A duration as queues count it: whole milliseconds, never negative."""
    return max(0, round(seconds * 1000))


class Queue(Protocol):
    """A queue of leased, fenced claims. Every method may be sent again after a lost reply without changing
    anything more.
    """

    @property
    def name(self) -> str:
        """What tells this queue from others over the same server and record."""
        ...

    def enqueue(
        self, tasks: Sequence[Dispatch], *, max_depth: int = 0, healing: bool = False
    ) -> list[Admission]:
        """Put recorded tasks into the queue, at most `max_depth` of them (0 = no cap). Of tasks with the same
        `lock_key` one at a time is given to a worker, in the order in which they came.
        """
        ...

    def step(
        self,
        worker: str,
        nonce: str,
        *,
        finishes: Sequence[Finish],
        want: int,
        lease: float,
        max_crashes: int,
        lowest_token: int = 0,
        results: Mapping[UUID, str] = MappingProxyType({}),
        result_ttl: int = 3600,
    ) -> StepResult:
        """Finish and claim in one round trip, with leases of `lease` seconds and tokens of at least
        `lowest_token`. `results` (JSON text) become readable for `result_ttl` seconds in the same round trip.

        Raises `WorkerGone` for a worker that was declared dead.
        """
        ...

    def result(self, task_id: UUID) -> str | None:
        """The result of a task as JSON text, as long as it is kept here."""
        ...

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        """Give claims (token, lock key) the lock keys that their producers did not know of.

        Returns those whose claim is void, since they wait behind another task or for the healing of a queue that lost
        its memory, and those whose token is lost; neither may run.
        """
        ...

    def renew(self, worker: str, leases: Mapping[UUID, int], *, lease: float) -> tuple[set[UUID], set[UUID]]:
        """Prolong leases to `lease` seconds from now; returns the lost ones and those somebody wants
        canceled.
        """
        ...

    def release(
        self,
        worker: str,
        leases: Mapping[UUID, int] | None,
        *,
        charge: bool,
        max_crashes: int,
        declare_gone: bool,
    ) -> tuple[list[Revoked], list[Revoked]]:
        """Give leases back, all of the worker's when None; returns the released and the dead-lettered ones."""
        ...

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Tell the holders of running tasks to stop; False for tasks that nobody holds."""
        ...

    def wait(self, timeout: float) -> bool:
        """Block until there may be something to claim; False when `timeout` seconds passed instead."""
        ...

    def wake(self, count: int = 1) -> None:
        """Let idle workers look again."""
        ...

    def depth(self) -> QueueDepth:
        """Count the tasks of each state."""
        ...

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Whether the queue holds each task, in whatever state."""
        ...

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        """Why tasks are in the dead letters, for those that are."""
        ...

    def begin_rebuild(self, proposal: str) -> str | None:
        """None for a queue that remembers. Otherwise it is new or has lost everything, and this is the name
        of the epoch that `end_rebuild` has to be given once the record's pending tasks were dispatched with
        `healing`.
        """
        ...

    def end_rebuild(self, name: str) -> bool:
        """Say that the queue knows all pending tasks; False when it has lost its memory again meanwhile."""
        ...

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        """Keep how a pool is set; returns what had another value before, with that. A kept `max_crashes` is what
        `step` and `release` go by from then on, whatever they are called with.
        """
        ...

    def register(self, worker: str, identity: str) -> None:
        """Say on which host and process a worker lives, so that its death can be seen by its neighbours."""
        ...

    def registered(self) -> dict[str, str]:
        """Identities of all registered workers."""
        ...

    def drop(self) -> None:
        """Forget everything. For tests and tear-down only."""
        ...
