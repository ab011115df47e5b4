"""What goes into the record and what it says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from agentexec.store.status import Status


# Not frozen, as the others are: one is made for every task, and a frozen one takes three times as long to make.
@dataclass(kw_only=True, slots=True)
class NewActivity:
    """An activity to be recorded as QUEUED. `context` and `metadata` are JSON values, `delay` is in
    seconds.
    """

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


class Started(NamedTuple):
    """An activity that may run: how often it was started, this time included, and how many of its runs failed.

    The two differ by the runs that were cut off, by a shutdown or with their worker, which are nobody's failure.
    """

    attempt: int
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """Progress of a running task: entry `n` of the holder of `token`."""

    id: UUID
    token: int
    n: int
    message: str
    percentage: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityUpdate:
    """How the holder of `token` ends its claim; `n` is the number of the log entry that says so. `failed` counts a
    failure of the handler that is going to be tried again.
    """

    id: UUID
    token: int
    n: int
    status: Status
    message: str
    percentage: int | None = None
    result: Any = None
    error: str | None = None
    failed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What the record says of an activity right now."""

    id: UUID
    status: Status
    fence: int
    attempt: int
    cancel_requested: bool
