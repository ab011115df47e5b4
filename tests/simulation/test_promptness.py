"""Tasks that idle workers leave waiting, and claims that do not begin."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from agentexec.identifiers import new_id
from agentexec.queue.protocol import Dispatch, StepRequest
from harness.history import Operation, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.injection import INJECT
from harness.history.names import NEMESIS
from harness.simulation import simulate
from harness.simulation.promptness import Promptness
from harness.simulation.queue.memory_queue import MemoryQueue
from harness.simulation.scheduler import Process
from tests.planted.edits import Edit, applied


def operation(process: str, f: str, seconds: float, /, **value: Any) -> Operation:
    kind = OperationType.INVOKE if f == "run" else OperationType.INFO
    return Operation(time=round(seconds * NANOSECONDS), process=process, type=kind, f=f, value=value)


def fault(seconds: float, **value: Any) -> Operation:
    return operation(NEMESIS, "kill-worker", seconds, phase=INJECT, seconds=0.0, **value)


def lived(*, claimed: float, begun: float, idle: bool = True, slots: int = 1) -> tuple[Promptness, Operation]:
    """A task that is ready at 20 s, with the times at which it was claimed and began."""
    promptness, queue = Promptness(slots), MemoryQueue(clock=lambda: 1000.0)
    process = Process.__new__(Process)
    process.name = "pool-0/0"
    task: UUID = new_id()
    if idle:
        queue.register("w", "host|1|1")
    queue.enqueue([Dispatch(task_id=task, payload=b"", level=0)])
    promptness.note(queue.books, 20 * NANOSECONDS)
    answer = queue.step(StepRequest(worker="w", nonce="n", want=1))
    now = round(claimed * NANOSECONDS)
    promptness.note(queue.books, now)
    promptness.claimed(answer, process, now)
    run = operation("w-1", "run", begun, task=1, activity=str(task), fence=answer.claims[0].token)
    return promptness, run


@pytest.mark.parametrize(
    ("times", "faults", "found"),
    [
        ({"claimed": 20.1, "begun": 20.2}, [], ""),
        ({"claimed": 21.0, "begun": 21.1}, [], "was claimed after 1.00 s"),
        ({"claimed": 21.0, "begun": 21.1}, [fault(13.9)], "was claimed after 1.00 s"),
        ({"claimed": 21.0, "begun": 21.1}, [fault(14.1)], ""),
        ({"claimed": 21.0, "begun": 21.1, "idle": False}, [], ""),
        ({"claimed": 21.0, "begun": 21.1, "slots": 0}, [], ""),
        ({"claimed": 20.1, "begun": 20.6}, [], "task 1 began 0.50 s after its claim"),
        (
            {"claimed": 20.1, "begun": 20.6},
            [fault(20.3, at="pool-0/1")],
            "task 1 began 0.50 s after its claim",
        ),
        ({"claimed": 20.1, "begun": 20.6}, [fault(20.3, at="pool-0/0")], ""),
        ({"claimed": 20.1, "begun": 20.6}, [fault(20.7)], "task 1 began 0.50 s after its claim"),
    ],
)
def test_a_wait_that_no_fault_explains_is_found(
    times: dict[str, Any], faults: list[Operation], found: str
) -> None:
    promptness, run = lived(**times)
    late = [*promptness.late([*faults, run])]
    assert len(late) == bool(found)
    assert not found or found in late[0]


def test_a_task_that_another_one_precedes_may_wait() -> None:
    """A step takes the one that becomes ready in it, and the worker is full."""
    clock = [1000.0]
    promptness, queue = Promptness(slots=1), MemoryQueue(clock=lambda: clock[0])
    first, later = (new_id() for _ in range(2))
    queue.register("w", "host|1|1")
    queue.enqueue([Dispatch(task_id=first, payload=b"", level=0, delay=0.01)])
    queue.enqueue([Dispatch(task_id=later, payload=b"", level=1)])
    promptness.note(queue.books, 20 * NANOSECONDS)
    clock[0] += 1
    [claim] = queue.step(StepRequest(worker="w", nonce="1", want=1)).claims
    promptness.note(queue.books, round(20.01 * NANOSECONDS))
    assert claim.task_id == first
    queue.release("w", {first: claim.token}, charge=False)
    queue.request_cancel([first])
    promptness.note(queue.books, 21 * NANOSECONDS)
    assert queue.step(StepRequest(worker="w", nonce="2", want=1)).claims[0].task_id == later
    promptness.note(queue.books, 21 * NANOSECONDS)
    assert not [*promptness.late([])]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.idle.set()", "pass"),
        ("if not self._claims and not self._finishes:", "if not self._finishes:"),
    ],
)
def test_a_worker_that_looks_once_a_second_is_found(old: str, new: str) -> None:
    """Both cost each task a part of a second, and nothing else: only this check notices."""
    place = "_step" if "idle" in old else "_collect"
    with applied([Edit(where=f"agentexec.worker.loop:WorkerLoop.{place}", old=old, new=new)]):
        found = [finding.checker for seed in range(5) for finding in simulate(seed).findings]
    assert set(found) == {"promptness"}
