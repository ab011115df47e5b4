"""The states of an activity and the moves between them. No I/O."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where an activity stands. The last three are terminal: nothing changes them any more."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether the activity is over."""
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETE, Status.ERROR, Status.CANCELED})
PENDING = frozenset({Status.QUEUED, Status.RUNNING})

LEGAL: dict[Status, frozenset[Status]] = {
    # QUEUED to ERROR is a task that is dead-lettered before any handler could run.
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELED, Status.ERROR}),
    # RUNNING to RUNNING is a redelivery under a higher fence, RUNNING to QUEUED a retry or a released lease.
    Status.RUNNING: frozenset(
        {Status.RUNNING, Status.QUEUED, Status.COMPLETE, Status.ERROR, Status.CANCELED}
    ),
    Status.COMPLETE: frozenset(),
    Status.ERROR: frozenset(),
    Status.CANCELED: frozenset(),
}


def is_legal(before: Status, after: Status) -> bool:
    """Whether an activity may go from `before` to `after`."""
    return after in LEGAL[before]


def sources(after: Status) -> tuple[Status, ...]:
    """The states from which `after` may be reached, in the order of `Status`."""
    return tuple(before for before in Status if after in LEGAL[before])
