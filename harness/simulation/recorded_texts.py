"""Does the record say why and with which words each activity ended, and does its log have what handlers reported?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentexec.store.dialects import as_uuid
from agentexec.store.status import TERMINAL, Status
from agentexec.worker.progress import MAX_ENTRIES
from harness.simulation.by_hand import ManualActivity, ManualRecord
from harness.simulation.context import SimulationContext
from harness.simulation.crash_charges import BY_CRASHES
from harness.simulation.evidence import SimulatedRows
from harness.simulation.handlers import AS_PLANNED, CLOSED, FOR_GOOD, GIVES_UP, burst_message
from harness.simulation.plan import HandlerEnd, PlannedTask
from harness.simulation.service import FAILED

REFUSED = "the database refuses it ("
# How the error of an activity begins that ended so.
WHY: Mapping[HandlerEnd, Sequence[str]] = {
    HandlerEnd.RAISES: [f"FinalFailure: {FOR_GOOD}"],
    HandlerEnd.GIVES_UP: [GIVES_UP],
    HandlerEnd.UNWRITABLE: ["The handler's result cannot be written as JSON"],
    HandlerEnd.REFUSED: [REFUSED],
    HandlerEnd.UNFIT: ["The context of simulated", "The lock key '{lock}' of simulated-locked"],
    HandlerEnd.OVERDUE: ["TimeLimitExceeded: ran longer than its"],
}
LEFT_OUT = f"Progress is left out: {REFUSED}"
# What may end any task.
ALWAYS = (f"RetriedFailure: {AS_PLANNED}", "TimeLimitExceeded: ran longer than its soft", BY_CRASHES, FAILED)
BURST = burst_message(0)[:-1]


def wrong_texts(
    context: SimulationContext, stored: SimulatedRows, by_hand: Sequence[ManualActivity]
) -> Iterator[str]:
    """What the record or a log has otherwise than the plan or the calls of a service, a sentence each."""
    rows, logs = stored.activities, defaultdict[object, list[Any]](list)
    for entry in stored.entries:
        logs[entry.activity_id].append(entry)
    tasks = {task.number: task for task in context.plan.tasks}
    completed = context.settings.activity_message_complete
    for row in rows:
        if row.id in stored.numbers and logs[row.id]:
            task = tasks[stored.numbers[row.id]]
            yield from _of_end(task, row, logs[row.id][-1], completed)
            if task.end is HandlerEnd.REFUSED and str(row.error).startswith(REFUSED):
                yield from _of_refused_report(task, row.fence, logs[row.id])
            if task.burst:
                yield from _of_burst(task, logs[row.id], context.reached)
    records = {
        as_uuid(row.id): ManualRecord(row.status, [(e.status, e.message, e.percentage) for e in logs[row.id]])
        for row in rows
        if row.id not in stored.numbers
    }
    if any(record.status in TERMINAL for record in records.values()):
        context.reached.add("activity-by-hand-ends")
    for one in by_hand:
        yield from one.judged(records.pop(one.activity, None))
    yield from (f"manual: {one} is recorded, and no call created it" for one in records)


def _of_end(task: PlannedTask, row: Any, last: Any, completed: str) -> Iterator[str]:
    if row.status == Status.COMPLETE:
        expected = CLOSED if task.end is HandlerEnd.CLOSES else completed
        if last.message != expected:
            yield f"message: task {task.number} is complete with {last.message!r}, not with {expected!r}"
    if row.status == Status.ERROR:
        expected_errors = (*ALWAYS, *WHY.get(task.end, ()))
        if not str(row.error).startswith(expected_errors):
            yield f"error: task {task.number}, whose handler {task.end}, has the error {row.error!r}"
        elif row.error.partition("\n")[0] not in last.message:
            yield f"error: task {task.number} has the error {row.error!r}, and its log says {last.message!r}"


def _of_refused_report(task: PlannedTask, fence: int, log: Sequence[Any]) -> Iterator[str]:
    """The worker that recorded the refused result also recorded that it left the report out."""
    left_out = [entry for entry in log if entry.fence == fence and entry.message.startswith(LEFT_OUT)]
    if len(left_out) != 1:
        yield f"message: the log of task {task.number} says {len(left_out)} times that a report was left out"


def _of_burst(task: PlannedTask, log: Sequence[Any], reached: set[str]) -> Iterator[str]:
    """A log has a burst from its beginning on, as much of it as a batch takes, and its last report at the end."""
    found, batches = defaultdict[int, list[int]](list), Counter[object]()
    for entry in log:
        if entry.message.startswith(BURST):
            found[entry.fence].append(int(entry.message.removeprefix(BURST)))
            batches[entry.created_at] += 1
    if max(batches.values(), default=0) > MAX_ENTRIES:
        yield f"burst: one batch takes {max(batches.values())} reports of task {task.number}"
    last = log[-1]
    if last.status == Status.COMPLETE:
        found[last.fence] += []
    for fence, numbers in found.items():
        kept = min(task.burst, MAX_ENTRIES) - 1
        whole = (fence, Status.COMPLETE) == (last.fence, last.status)
        if numbers and len(numbers) < numbers[-1]:
            reached.add("progress-is-replaced")
        wrong = numbers != sorted(set(numbers)) or numbers[:kept] != [*range(1, min(kept, len(numbers)) + 1)]
        if wrong or (whole and (len(numbers) <= kept or numbers[-1] != task.burst)):
            which = f"{len(numbers)} of {task.burst} reports, up to number {max(numbers, default=0)}"
            yield f"burst: the log of task {task.number} under fence {fence} has {which}"
