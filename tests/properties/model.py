"""The expected state of an activity, from docs/reference/queue-protocol.md, and what a worker knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from agentexec.queue.protocol import Claim, Finish, StepResult
from tests.support.record import OVER


@dataclass
class ExpectedActivity:
    """The expected row and log of one activity."""

    status: str = "queued"
    fence: int = 0
    attempt: int = 0
    flagged: bool = False

    def start(self, token: int) -> bool:
        fresh = self.fence < token
        may = (self.status == "queued" and fresh) or (self.status == "running" and self.fence <= token)
        if not may or self.flagged:
            return False
        self.attempt += fresh
        self.status, self.fence = "running", token
        return True

    def end(self, token: int, status: str) -> str | None:
        """The holder ends the run; returns the new status, None if the update is refused."""
        if self.status != "running" or self.fence != token:
            return None
        self.status = "canceled" if status == "queued" and self.flagged else status
        return self.status

    def lose(self, token: int, status: str) -> bool:
        """Another worker records that the queue released the task."""
        return self.end(token, "canceled" if self.flagged else status) is not None

    def never_ran(self, token: int, status: str) -> None:
        if self.status not in OVER and self.fence < token:
            self.status, self.fence = status, token

    def cancel(self) -> None:
        if self.status not in OVER:
            self.flagged = True
            self.status = "canceled" if self.status == "queued" else self.status


@dataclass
class HeldLease:
    """A run under a fencing token, which its worker may have lost."""

    task: UUID
    token: int
    entries: int = 1


@dataclass
class WorkerView:
    """The state of one worker process. It is lost with the process; updates that were sent may still arrive."""

    name: str
    claims: list[Claim] = field(default_factory=list)
    running: list[HeldLease] = field(default_factory=list)
    finishes: list[Finish] = field(default_factory=list)
    lowest_token: int = 0
    last_step: tuple[str, list[Finish], int, StepResult] | None = None

    def take(self, claims: Sequence[Claim]) -> None:
        """A task that is claimed again, since Redis forgot the first claim, is held under the newer token only."""
        again = {claim.task_id for claim in claims}
        self.claims = [claim for claim in self.claims if claim.task_id not in again] + list(claims)
