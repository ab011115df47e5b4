"""What a worker knows of its activities; `harness.history.activity_model` is the model of the store's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from agentexec.queue.protocol import Claim, Finish, StepResult


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
