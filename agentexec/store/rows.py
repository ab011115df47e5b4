"""The values that the activity store takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from agentexec.store.status import Status


# Not frozen, unlike the others: one is made for every task, and making a frozen one takes three times as long.
@dataclass(kw_only=True, slots=True)
class NewActivity:
    """An activity to be recorded as QUEUED. `context` and `metadata` are JSON values; `delay` is in seconds."""

    id: UUID
    queue_name: str
    task_name: str
    context: Any
    priority: int
    message: str
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    lock_key: str | None = None
    delay: float = 0.0

    @property
    def insert_order(self) -> tuple[str, int]:
        """Transactions that insert in this order do not wait for each other's keys in a circle."""
        return self.idempotency_key or "", self.id.int


class Start(NamedTuple):
    """The start of an activity by `worker`; `lock_key` is one that the producer did not know."""

    id: UUID
    token: int
    message: str
    worker: str = ""
    lock_key: str | None = None


class Started(NamedTuple):
    """An activity that may run: the number of its starts, this one included, and of its failed runs.

    A run that a shutdown or the death of its worker ended is a start and no failure.
    """

    attempt: int
    failures: int


class PendingRow(NamedTuple):
    """An activity that is not terminal, and whether the queue has it as far as the store knows.

    `fence` is the token of the holder of a RUNNING one, None for a QUEUED one and where it was not asked for.
    """

    id: UUID
    dispatched: bool
    fence: int | None = None


class Withdrawal(NamedTuple):
    """An activity that the queue still has to stop or remove, and since when."""

    id: UUID
    status: Status
    fence: int
    since: Any  # as the database returns it


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """Progress of a running task: entry `n` under `token`; None takes the next free number, for a locked row."""

    id: UUID
    token: int
    n: int | None
    message: str
    percentage: int | None = None


@dataclass(kw_only=True, slots=True)  # not frozen, as `NewActivity`
class ActivityUpdate:
    """The end of a run under `token`, with log entry `n`; None takes the next free number, for a locked row.

    `failed` counts a failure of the handler that will be retried.
    """

    id: UUID
    token: int
    n: int | None
    status: Status
    message: str
    percentage: int | None = None
    result: Any = None
    error: str | None = None
    failed: bool = False


class Standing(NamedTuple):
    """The current state of an activity."""

    status: Status
    fence: int
    cancel_requested: bool
