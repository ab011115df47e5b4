"""The story of a task in one line, for the counterexamples: what was done with it, by whom, and when."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.history import History, Operation, OperationType
from harness.history.reading import activity_of, injections, pids_of, seconds, task_of, worker

LONGEST = 16
"""Events told of one task; of a longer story the middle is left out."""

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
class _Tale:
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
    """Something to say about one task: `kind` is a word to count by, `why` a sentence, `more` goes in beside them."""

    kind: str
    task: int
    why: str
    more: Mapping[str, Any] = field(default_factory=dict)


def explain(history: History, findings: Iterable[Counterexample]) -> tuple[Mapping[str, Any], ...]:
    """The findings as counterexamples, each with its activity and with the story of its task, for example
    `acknowledged at +1.203 s; started by worker-12 at +1.240 s; worker-12 hit by kill-worker at +1.300 s; never again;
    record: running`. Times count from the first operation. One pass over the history for any number of findings.
    """
    members = list(findings)
    tales = _tales(history, {finding.task for finding in members})
    return tuple(
        {
            "kind": finding.kind,
            "task": finding.task,
            "activity": tales[finding.task].activity,
            "why": finding.why,
            **finding.more,
            "operations": tales[finding.task].text(),
        }
        for finding in members
    )


def _tales(history: History, tasks: Collection[int]) -> dict[int, _Tale]:
    tales = {task: _Tale() for task in tasks}
    if not tales:
        return tales
    start = history.operations[0].time
    at_work: dict[str, set[int]] = {}
    hits = {id(injection) for injection in injections(history)}
    for operation in history:
        if id(operation) in hits:
            _tell_fault(operation, _when(operation, start), at_work, tales)
        elif (telling := _TELLING.get(operation.f)) is not None and (task := task_of(operation)) in tales:
            tales[task].activity = tales[task].activity or activity_of(operation)
            telling(tales[task], operation, _when(operation, start))
            if operation.f == "run":
                _note_work(operation, task, at_work)
    return tales


def _when(operation: Operation, start: int) -> str:
    return f"at +{seconds(operation.time - start):.3f} s"


def _tell_enqueue(tale: _Tale, operation: Operation, when: str) -> None:
    event = f"{_ENQUEUE[operation.type]} {when}"
    if operation.type is OperationType.INVOKE:
        tale.unanswered = len(tale.events)
        tale.events.append(event)
    elif tale.unanswered is not None:
        tale.events[tale.unanswered] = event
        tale.unanswered = None
    else:
        tale.events.append(event)


def _tell_run(tale: _Tale, operation: Operation, when: str) -> None:
    tale.events.append(f"{_RUN[operation.type].format(process=operation.process)} {when}")
    tale.started = True
    tale.finished = operation.type is OperationType.OK


def _tell_record(tale: _Tale, operation: Operation, _when: str) -> None:
    tale.records[str(operation.value.get("activity"))] = str(operation.value.get("status"))


def _note_work(operation: Operation, task: int, at_work: dict[str, set[int]]) -> None:
    busy = at_work.setdefault(operation.process, set())
    if operation.type is OperationType.INVOKE:
        busy.add(task)
    else:
        busy.discard(task)


def _tell_fault(fault: Operation, when: str, at_work: dict[str, set[int]], tales: dict[int, _Tale]) -> None:
    for pid in pids_of(fault):
        for task in sorted(at_work.get(worker(pid), ())):
            tales[task].events.append(f"{worker(pid)} hit by {fault.f} {when}")


_TELLING: Mapping[str, Callable[[_Tale, Operation, str], None]] = {
    "enqueue": _tell_enqueue,
    "run": _tell_run,
    "record": _tell_record,
}
