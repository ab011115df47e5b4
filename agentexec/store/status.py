"""The states of an activity and the moves between them. No I/O.

`MOVES` is the one table of legal moves. Each statement takes the states that it may start from out of it (`sources`),
so the database refuses a row in any other state. docs/reference/activity-states.md is the same table as a diagram.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """The state of an activity. The last three are terminal: they never change."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether the activity is over."""
        return self in TERMINAL


class Move(NamedTuple):
    """A legal change of status: the statement that makes it (`agentexec.store.statements`), and its cause."""

    before: Status
    after: Status
    statement: str
    cause: str


MOVES = (
    Move(Status.QUEUED, Status.RUNNING, "start", "worker starts it"),
    Move(Status.RUNNING, Status.RUNNING, "start", "worker restarts it under a higher token"),
    Move(Status.RUNNING, Status.COMPLETE, "finish", "handler returned"),
    Move(Status.RUNNING, Status.QUEUED, "finish", "retry or graceful release"),
    Move(Status.RUNNING, Status.ERROR, "finish", "handler failed for good"),
    Move(Status.RUNNING, Status.CANCELED, "finish", "handler ended after a cancel request"),
    Move(Status.RUNNING, Status.QUEUED, "revoke", "lease expired or worker died"),
    Move(Status.RUNNING, Status.ERROR, "revoke", "dead-lettered after crashes"),
    Move(Status.RUNNING, Status.CANCELED, "revoke", "lease lost after a cancel request"),
    Move(Status.QUEUED, Status.CANCELED, "request_cancel", "cancel by a caller"),
    Move(Status.QUEUED, Status.CANCELED, "terminate", "cancel_pending, as the queue lost it"),
    Move(Status.QUEUED, Status.ERROR, "terminate", "dead-lettered, or activity.error"),
    Move(Status.RUNNING, Status.CANCELED, "terminate", "redelivery after a cancel request"),
    Move(Status.RUNNING, Status.ERROR, "terminate", "dead-lettered, or activity.error"),
)

LEGAL: dict[Status, frozenset[Status]] = {
    before: frozenset(move.after for move in MOVES if move.before is before) for before in Status
}
TERMINAL = frozenset(status for status in Status if not LEGAL[status])
PENDING = frozenset(Status) - TERMINAL


def is_legal(before: Status, after: Status) -> bool:
    """Whether an activity may go from `before` to `after`."""
    return Status(after) in LEGAL[Status(before)]


def sources(statement: str) -> frozenset[Status]:
    """The states in which a statement finds the activities that it moves."""
    return frozenset(move.before for move in MOVES if move.statement == statement)


def sql_in(statuses: Iterable[Status]) -> str:
    """The rest of an SQL condition on a status column: `= 'running'` or `IN ('queued', 'running')`."""
    names = [f"'{status.value}'" for status in Status if status in statuses]
    return f"= {names[0]}" if len(names) == 1 else f"IN ({', '.join(names)})"
