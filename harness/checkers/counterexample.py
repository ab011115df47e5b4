"""Counterexamples: what is wrong with one task, and the events of the task in one line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.history import History, Operation, OperationType
from harness.history.faults import FaultWindow, injected_faults
from harness.history.fields import activity_of, task_of
from harness.history.figures import seconds

LONGEST = 16
"""The most events that are listed for one task; a longer list is shown without its middle."""

_ENQUEUE = {
    OperationType.INVOKE: "submitted",
    OperationType.OK: "acknowledged",
    OperationType.FAIL: "refused",
    OperationType.INFO: "submitted with unknown outcome",
}
_RUN = {
    OperationType.INVOKE: "started by {process}",
    OperationType.OK: "finished by {process}",
    OperationType.FAIL: "failed in {process}",
    OperationType.INFO: "stopped in {process}",
}


@dataclass(kw_only=True, slots=True)
class _TaskEvents:
    """The events of one task so far. `unanswered` is the index of a submission that has no answer yet."""

    activity: str | None = None
    events: list[str] = field(default_factory=list)
    unanswered: int | None = None
    started: bool = False
    finished: bool = False
    records: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        parts = self.events
        if len(parts) > LONGEST:
            half = LONGEST // 2
            parts = [*parts[:half], f"... {len(parts) - LONGEST} more ...", *parts[-half:]]
        ending = [] if self.finished else ["never again" if self.started else "never started"]
        records = [f"record: {status}" for status in self.records.values()] or ["no record"]
        return "; ".join([*parts, *ending, *records])


@dataclass(frozen=True, kw_only=True, slots=True)
class Counterexample:
    """What is wrong with one task. `kind` groups counterexamples, `why` is a sentence, `more` are JSON fields."""

    kind: str
    task: int
    why: str
    more: Mapping[str, Any] = field(default_factory=dict)


def explain(history: History, found: Iterable[Counterexample]) -> tuple[Mapping[str, Any], ...]:
    """The counterexamples as JSON objects, each with its activity and the events of its task.

    For example `acknowledged at +1.203 s; started by worker-12 at +1.240 s; worker-12 hit by kill-worker at +1.300
    s; never again; record: running`. Times count from the first operation. One pass over the history finds the
    events of all tasks.
    """
    members = list(found)
    by_task = _events(history, {member.task for member in members})
    return tuple(
        {
            "kind": member.kind,
            "task": member.task,
            "activity": by_task[member.task].activity,
            "why": member.why,
            **member.more,
            "operations": by_task[member.task].text(),
        }
        for member in members
    )


def _events(history: History, tasks: Collection[int]) -> dict[int, _TaskEvents]:
    by_task = {task: _TaskEvents() for task in tasks}
    if not by_task:
        return by_task
    start = history.operations[0].time
    running: dict[str, set[int]] = {}
    faults = {id(fault.injection): fault for fault in injected_faults(history)}
    for operation in history:
        if (fault := faults.get(id(operation))) is not None:
            _add_fault(fault, _when(operation, start), running, by_task)
        elif (add := _ADD.get(operation.f)) is not None and (task := task_of(operation)) in by_task:
            by_task[task].activity = by_task[task].activity or activity_of(operation)
            add(by_task[task], operation, _when(operation, start))
            if operation.f == "run":
                _note_running(operation, task, running)
    return by_task


def _when(operation: Operation, start: int) -> str:
    return f"at +{seconds(operation.time - start):.3f} s"


def _add_enqueue(task: _TaskEvents, operation: Operation, when: str) -> None:
    event = f"{_ENQUEUE[operation.type]} {when}"
    if operation.type is OperationType.INVOKE:
        task.unanswered = len(task.events)
        task.events.append(event)
    elif task.unanswered is not None:
        task.events[task.unanswered] = event
        task.unanswered = None
    else:
        task.events.append(event)


def _add_run(task: _TaskEvents, operation: Operation, when: str) -> None:
    task.events.append(f"{_RUN[operation.type].format(process=operation.process)} {when}")
    task.started = True
    task.finished = operation.type is OperationType.OK


def _add_record(task: _TaskEvents, operation: Operation, _when: str) -> None:
    task.records[str(operation.value.get("activity"))] = str(operation.value.get("status"))


def _note_running(operation: Operation, task: int, running: dict[str, set[int]]) -> None:
    tasks = running.setdefault(operation.process, set())
    if operation.type is OperationType.INVOKE:
        tasks.add(task)
    else:
        tasks.discard(task)


def _add_fault(
    fault: FaultWindow, when: str, running: Mapping[str, set[int]], by_task: Mapping[int, _TaskEvents]
) -> None:
    for worker in fault.workers:
        for task in sorted(running.get(worker, ())):
            by_task[task].events.append(f"{worker} hit by {fault.name} {when}")


_ADD: Mapping[str, Callable[[_TaskEvents, Operation, str], None]] = {
    "enqueue": _add_enqueue,
    "run": _add_run,
    "record": _add_record,
}
