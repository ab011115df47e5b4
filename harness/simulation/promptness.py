"""Is a task claimed at once while a worker is idle, and does it begin at once then, where no fault is near?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from agentexec.queue.protocol import StepResult
from harness.history import Operation, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.injection import INJECT
from harness.history.names import NEMESIS
from harness.simulation.queue.books import Books
from harness.simulation.scheduler import Process

# Seconds from ready to claim, and from the claim to the handler. Both take some round trips.
CLAIMED_WITHIN = BEGINS_WITHIN = 0.25
# Seconds after the end of a fault within which it may delay a worker: time-outs, and what waited meanwhile.
NEAR = 6.0


class Promptness:
    """When tasks became ready, when they were claimed, and by which process."""

    def __init__(self, slots: int = 1) -> None:
        """`slots` are those of one worker."""
        self._slots = slots
        # Since when a task is ready; None if no worker was idle at some time since then.
        self._ready: dict[UUID, int | None] = {}
        self._waits: list[tuple[UUID, int, int]] = []  # task, ready, claimed
        self._claims: dict[tuple[str, int], tuple[int, str]] = {}
        self.left: list[int] = []  # when a worker left to be replaced, which takes an idle one away

    def note(self, books: Books, now: int) -> None:
        """Note the ready tasks after a call; `now` is in nanoseconds."""
        if not (self._ready or any(books.ready)):
            return
        ready = {task for line in books.ready for task in line}
        for task in self._ready.keys() - ready:
            since = self._ready.pop(task)
            if since is not None and task in books.holder:
                self._waits.append((task, since, now))
        # So few that no worker is full, even if one has all of them.
        if not books.workers or len(books.holder) + len(ready) > self._slots or self._runs_one_alone(books):
            self._ready = dict.fromkeys(ready)
        for task in ready:
            self._ready.setdefault(task, now)

    def _runs_one_alone(self, books: Books) -> bool:
        """Whether a worker claims nothing else, because of a task that runs alone or waits for that."""
        return bool(books.alone) or any(map(books.runs_alone, books.holder))

    def claimed(self, answer: StepResult, by: Process, now: int) -> None:
        """Note the claims of a step; `now` is in nanoseconds."""
        for claim in answer.claims:
            self._claims.setdefault((str(claim.task_id), claim.token), (now, by.name))

    def late(self, operations: Sequence[Operation]) -> Iterator[str]:
        """The claims and the runs that came too late, a sentence each."""
        faults = [op for op in operations if op.process == NEMESIS and op.value.get("phase") == INJECT]
        for task, since, until in self._waits:
            waited = (until - since) / NANOSECONDS
            left = any(at <= until and at + NEAR * NANOSECONDS >= since for at in self.left)
            near = left or any(_is_near(fault, None, since, until) for fault in faults)
            if waited > CLAIMED_WITHIN and not near:
                yield f"late-claim: {task} was claimed after {waited:.2f} s, while a worker was idle and no fault near"
        for run in operations:
            if run.f != "run" or run.type is not OperationType.INVOKE:
                continue
            key = run.value["activity"], run.value["fence"]
            since, worker = self._claims.get(key, (run.time, ""))
            waited = (run.time - since) / NANOSECONDS
            if waited > BEGINS_WITHIN and not any(_is_near(one, worker, since, run.time) for one in faults):
                yield f"late-begin: task {run.value['task']} began {waited:.2f} s after its claim, with no fault near"


def _is_near(fault: Operation, worker: str | None, since: int, until: int) -> bool:
    """Whether a fault may have delayed what this worker, or any one, did in that time."""
    over = fault.time + round((abs(fault.value["seconds"]) + NEAR) * NANOSECONDS)
    of_others = worker is not None and fault.value.get("at", worker) != worker
    return not of_others and fault.time <= until and over >= since
