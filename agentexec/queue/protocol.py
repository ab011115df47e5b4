"""The queue protocol: its values and methods, independent of any server.

The queue is an index of work that Postgres already records. It may lose all of its contents: the reconciler
rebuilds it. It never gives a task to two holders under one fencing token, and never accepts a finish under a lost one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol, Self
from uuid import UUID

from agentexec.config import Settings

SHORTEST_SILENCE_SECONDS = 3600.0

Tokens = Mapping[UUID, int]  # fencing tokens by task


class Disposition(StrEnum):
    """What a worker asks the queue to do with a task that it holds."""

    ACK = "ack"  # remove it: it is over
    RETRY = "retry"  # run it again after a delay; it keeps its lock key meanwhile
    DEFER = "defer"  # run it again after a delay; other tasks with its lock key may run first
    DEAD_LETTER = "dead_letter"


class Admission(IntEnum):
    """The queue's answer to one dispatched task."""

    FULL = 0
    TAKEN = 1
    LATER = 2  # the queue lost its contents, and accepts lock keys only once it is rebuilt


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePolicy:
    """The limits that a queue applies in every call."""

    lease_seconds: float = 30.0
    # A task with more of its own is a dead letter; what the pools agreed on takes precedence.
    max_crashes: int = 5
    max_depth: int = 0  # tasks in the queue, dead letters excluded; 0 = no cap
    result_ttl_seconds: int = 3600

    @property
    def silence_seconds(self) -> float:
        """How long a worker may be silent before the queue forgets it."""
        return max(SHORTEST_SILENCE_SECONDS, 10 * self.lease_seconds)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that these settings ask for."""
        return cls(
            lease_seconds=settings.lease_seconds,
            max_crashes=settings.max_crashes,
            max_depth=settings.max_queue_depth,
            result_ttl_seconds=settings.result_ttl,
        )


@dataclass(kw_only=True, slots=True)  # not frozen, as `NewActivity`
class Dispatch:
    """A recorded task on its way into the queue. `level` 0 is the highest priority; `delay` is in seconds."""

    task_id: UUID
    payload: bytes
    level: int
    delay: float = 0.0
    lock_key: str | None = None


@dataclass(kw_only=True, slots=True)  # not frozen, as `NewActivity`
class Claim:
    """A task leased to a worker under the fencing token `token`."""

    task_id: UUID
    token: int
    payload: bytes
    partitioned: bool = False  # whether the queue knows its lock key


@dataclass(kw_only=True, slots=True, unsafe_hash=True)  # not frozen, as `NewActivity`; nothing changes one
class Finish:
    """The end of a claim. `delay` (seconds) belongs to RETRY and DEFER, `reason` to DEAD_LETTER.

    `result` is JSON text, kept for `result_ttl_seconds` whether the finish is accepted or not: the record has it.
    """

    task_id: UUID
    token: int
    disposition: Disposition
    delay: float = 0.0
    reason: str = ""
    result: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRequest:
    """One round trip of a worker: finish tasks, then claim up to `want` under tokens from `lowest_token` up.

    A `busy` worker keeps other leases than those that it finishes, so it gets no task that has to run alone. A request
    with the `nonce` of the worker's previous one gets the previous answer and changes nothing.
    """

    worker: str
    nonce: str
    want: int = 0
    finishes: Sequence[Finish] = ()
    lowest_token: int = 0
    busy: bool = False


class Revocations(NamedTuple):
    """Leases that were revoked, with the tokens that lost their authority."""

    requeued: Tokens
    dead: Tokens  # their tasks are dead letters


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The answer to a `StepRequest`.

    `stale` finishes were refused because their token was lost. `expired` leases were revoked in this step. `next_due`
    is the time in seconds until a task falls due or a lease expires, None if there is neither. `canceled` are tasks of
    this worker whose handlers have to stop. A `reserved` worker gets no other tasks before those that it has have
    ended: it runs a task alone, or is to run one next. `foreign` are texts in the lists that are no ids and became
    dead letters; a repeated answer has none. `names` changes when a pool announces tasks that no pool had announced
    before.
    """

    claims: tuple[Claim, ...]
    stale: tuple[Finish, ...]
    expired: Revocations
    next_due: float | None
    canceled: frozenset[UUID] = frozenset()
    reserved: bool = False
    foreign: tuple[str, ...] = ()
    names: str = ""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The number of tasks in each state. Each known task is in exactly one; parked ones wait for a lock key."""

    ready: int
    leased: int
    scheduled: int
    parked: int
    dead: int
    known: int


def milliseconds(seconds: float) -> int:
    """A duration in the unit of the queues: whole milliseconds, never negative."""
    return max(0, round(seconds * 1000))


class Queue(Protocol):
    """A queue of leased, fenced claims.

    Every method may be called again after a lost reply: the repetition changes nothing more.
    """

    @property
    def name(self) -> str:
        """The name that separates this queue from others on the same servers."""

    @property
    def policy(self) -> QueuePolicy:
        """The limits that this instance applies."""

    def enqueue(self, tasks: Sequence[Dispatch], *, from_reconciler: bool = False) -> list[Admission]:
        """Add recorded tasks; a task that the queue knows is left as it is.

        Tasks with the same `lock_key` are claimed one at a time, in the order in which they were added. A queue that
        lost its contents accepts lock keys only `from_reconciler`, and what it had `from_reconciler` without a cap.
        """

    def step(self, request: StepRequest) -> StepResult:
        """Finish and claim in one round trip; also promotes due tasks and revokes expired leases.

        Raises `WorkerGone` for a worker that was declared dead.
        """

    def result(self, task_id: UUID) -> str | None:
        """The result of a task as JSON text, None where it is not kept, or not any longer."""

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        """Apply lock keys that the producer did not know, given as (token, lock key) of each claim.

        Returns the tasks whose claim is void because they have to wait, and those whose token is
        lost. Neither may run.
        """

    def renew(self, worker: str, leases: Tokens) -> tuple[set[UUID], set[UUID]]:
        """Extend leases to their full length from now; returns the lost ones and those to be canceled."""

    def release(
        self,
        worker: str | None,
        leases: Tokens | None,
        *,
        charge: bool = False,
        begun: bool = True,
        declare_gone: bool = False,
    ) -> Revocations:
        """Revoke the given leases of a worker, of any for None, or all leases of a worker for None.

        With `charge` the worker crashed: a lease that is the only one of the worker counts as a crash of its task. Of
        several none does, and each runs alone from then on; after expired leases it does so from the second time on.
        Where no handler had `begun`, none counts either, unless the task runs alone already. With `declare_gone` the
        queue refuses the worker from then on.
        """

    def leases_of(self, worker: str) -> dict[UUID, int]:
        """The tasks that a worker has leased, with their tokens."""

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Ask the holders of tasks to stop; False for each task without a lease.

        A task without a lease is removed, unless it is a dead letter: the caller has recorded its end.
        """

    def wait(self, timeout: float) -> bool:
        """Block until there may be something to claim; False if `timeout` seconds passed instead."""

    def depth(self) -> QueueDepth:
        """Count the tasks of each state."""

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Whether the queue has each task, in whatever state."""

    def leases(self, task_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The fencing tokens of those tasks that are leased."""

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The reasons of those tasks that are dead letters."""

    def begin_rebuild(self, proposal: str) -> str | None:
        """None if the queue has its contents.

        Otherwise it is new, lost everything, or may lack its end, since its server started or took over after the last
        rebuild. The answer then names the epoch to build: the proposal, or that of another pool. `end_rebuild` takes
        this name after all pending tasks were enqueued `from_reconciler`.
        """

    def end_rebuild(self, name: str) -> bool:
        """Declare the rebuild complete; False if the queue lost its contents again meanwhile."""

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        """Store a pool's settings in the queue; returns the previous values that differ.

        A stored `max_crashes` takes precedence over every pool's policy.
        """

    def announce(self, fingerprints: Mapping[str, str]) -> None:
        """Note that a live pool knows these tasks: name and fingerprint of the model of the context."""

    def announced(self) -> dict[str, set[str]]:
        """The fingerprints of each name that pools announced within a day."""

    def hand_back(
        self, claims: Mapping[UUID, tuple[int, str, str]], *, limit: float, delay: float
    ) -> tuple[set[UUID], set[UUID]]:
        """Give claims back for other pools: token, task name, and this pool's fingerprint of it, empty for none.

        A task falls due again after `delay` seconds, or later where no live pool can run it. Returns the tasks that no
        other pool has been able to run for `limit` seconds, which keep their leases, and those whose token is lost.
        """

    def register(self, worker: str, identity: str) -> None:
        """Store on which host and process a worker runs, so that other pools on the host can see its death.

        A worker repeats it while it lives. Workers that were silent for `policy.silence_seconds` are forgotten.
        """

    def registered(self) -> dict[str, str]:
        """The identities of all registered workers."""

    def adopt(self, store: str, *, force: bool = False) -> str | None:
        """Note which activity store the queue serves.

        Returns the name of another store if the queue serves that one, and has tasks or living workers. With `force`
        it serves this store in any case.
        """
