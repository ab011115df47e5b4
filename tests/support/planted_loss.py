"""A defect for the simulation's own tests: a lease that never ends, as if a claim took the task out of the queue."""

from __future__ import annotations

from typing import Any

import pytest

from agentexec.queue.protocol import StepResult
from harness.simulation.queue.memory_queue import MemoryQueue

NEVER = 10**18


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no lease end, neither by expiry nor by release."""
    step = MemoryQueue.step

    def claim_for_ever(queue: MemoryQueue, *arguments: Any, **options: Any) -> StepResult:
        answer = step(queue, *arguments, **options)
        for claim in answer.claims:
            queue.books.lease.add(claim.task_id, NEVER)
        return answer

    def release_nothing(queue: MemoryQueue, *_: Any, **__: Any) -> tuple[list[Any], list[Any]]:
        return [], []

    monkeypatch.setattr(MemoryQueue, "step", claim_for_ever)
    monkeypatch.setattr(MemoryQueue, "release", release_nothing)
