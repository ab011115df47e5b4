"""The model of an activity by the protocol: the state machines of the tests predict with it, checkers replay logs.

docs/reference/queue-protocol.md is its source. It knows the row of the store; what workers did is compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.history.records import Entry
from harness.history.statuses import CANCELED, COMPLETE, FIRST, LEGAL, RUNNING, TERMINAL


def follows(status: str, fence: int, after: str, new_fence: int) -> bool:
    """Whether a row of a log with the status `after` may follow one with `status`, by the statuses alone."""
    same_fence = fence == new_fence
    if status == after and same_fence:
        return status not in TERMINAL
    if same_fence and after == RUNNING and fence > 0:
        return False  # a task released under a fence runs again only under a higher one
    return after in LEGAL.get(status, frozenset())


@dataclass(slots=True)
class ActivityModel:
    """The state of one activity; the methods are the statements of the store.

    `attempt` counts the fences under which it was started. `flagged` says that its cancel was requested. `n` is the
    number of the last row of its log under `fence`, in a replay.
    """

    status: str = FIRST
    fence: int = 0
    attempt: int = 0
    flagged: bool = False
    n: int = 0

    def start(self, token: int) -> bool:
        """A worker records the start of a run; False if it is refused."""
        fresh = self.fence < token
        may = (self.status == FIRST and fresh) or (self.status == RUNNING and self.fence <= token)
        if not may or self.flagged:
            return False
        self.attempt += fresh
        self.status, self.fence = RUNNING, token
        return True

    def end(self, token: int, status: str) -> str | None:
        """The holder ends the run; returns the new status, None if the update is refused."""
        if self.status != RUNNING or self.fence != token:
            return None
        self.status = CANCELED if status == FIRST and self.flagged else status
        return self.status

    def lose(self, token: int, status: str) -> bool:
        """Another worker records that the queue released the task; False if that is refused."""
        return self.end(token, CANCELED if self.flagged else status) is not None

    def never_ran(self, token: int, status: str) -> None:
        """A task that is not over ends under a token above that of its holder."""
        if self.status not in TERMINAL and self.fence < token:
            self.status, self.fence = status, token

    def cancel(self) -> None:
        """A client requests the cancel: a queued activity is over, a running one is flagged."""
        if self.status not in TERMINAL:
            self.flagged = True
            self.status = CANCELED if self.status == FIRST else self.status

    def replay(self, entry: Entry) -> str | None:
        """Take the next row of the activity's log, in the order of (fence, n), as a step.

        Returns why the protocol forbids it, and then changes nothing; None if it is allowed. A system whose tokens are
        all 0 may start under the one of the enqueue.
        """
        fence, status = entry.fence, entry.status
        same_fence = fence == self.fence
        if self.status in TERMINAL:
            return f"nothing follows {self.status}"
        if not follows(self.status, self.fence, status, fence):
            return f"{self.status} is not followed by {status}{' under the same fence' * same_fence}"
        if entry.n != (self.n + 1) * same_fence:
            return f"row {(self.n + 1) * same_fence} of fence {fence} is missing"
        if (why := self._refusal(status, same_fence=same_fence)) is not None:
            return why
        if status == RUNNING:
            self.attempt += not same_fence
        self.status, self.fence, self.n = status, fence, entry.n
        return None

    def _refusal(self, status: str, *, same_fence: bool) -> str | None:
        """Which statement would have to write the row, if none does."""
        if status == RUNNING:
            return None
        if not same_fence:
            holder = f"only the holder of fence {self.fence} records {status}"
            return holder if status in (FIRST, COMPLETE) else None
        if self.status == FIRST and status == FIRST and not self.fence:
            return None  # a note of a service
        if self.status == FIRST and status != CANCELED:
            return f"only a higher fence records {status} of a queued activity"
        return None

    def __str__(self) -> str:
        return f"{self.status} under fence {self.fence}, {self.attempt} started"
