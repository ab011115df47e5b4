"""Is a backup that was taken under load whole, and what may be lost when the record is set back to it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import is_setting, keeps_settings
from harness.checkers.transitions import illegal_paths
from harness.history import History, Operation, OperationType
from harness.history.faults import injected_faults
from harness.history.fields import task_of, whole
from harness.history.figures import counted
from harness.history.names import COPIED, COPY
from harness.history.promises import restorations
from harness.history.records import records
from harness.history.runs import Run, runs

_OF_TASKS = frozenset({"enqueue", "run", "effect", "report", "transition", "record"})


@keeps_settings
def backups(minimum: int = 1) -> Checker:
    """Each restored backup satisfies the claims of the record.

    Claims for each backup: every task that was acknowledged before it was taken has its record in it; each log is a
    legal path, which need not have ended; each record agrees with its log, and none is without the other. UNKNOWN with
    fewer than `minimum` backups. Does not claim that the rows of other tables are whole.
    """

    def check(history: History) -> CheckResult:
        copies = history.derive(_copies)
        examples: list[Counterexample] = []
        for number, copy in copies.items():
            found = [*illegal_paths(copy), *_missing(history, number, copy)]
            examples += [replace(one, why=f"in the backup of fault {number}, {one.why}") for one in found]
        activities = sum(len(records(copy)) for copy in copies.values())
        summary = (
            f"{counted(len(copies), 'backup')} with {counted(activities, 'record')}, all legal and complete"
        )
        if examples:
            summary = (
                f"{counted(len(examples), 'breach')} of {counted(len(copies), 'backup')}: {examples[0].why}"
            )
        few = len(copies) < minimum
        if few:
            summary = f"{counted(len(copies), 'backup')}, {minimum} are required"
        return CheckResult(
            verdict=Verdict.of(wrong=bool(examples), unsure=few),
            summary=summary,
            figures={"backups": len(copies), "records": activities, "breaches": len(examples)},
            counterexamples=explain(history, examples),
        )

    return check


@keeps_settings
def beyond_backups(checker: Checker) -> Checker:
    """The checker without the tasks that were recorded after a backup to which the record was set back.

    These were submitted or answered between the beginning of the backup and the end of the restoration, and the backup
    does not have them.
    """

    def check(history: History) -> CheckResult:
        return checker(history.derive(_without_young))

    return check


@is_setting
def budget_per_restoration(history: History) -> int:
    """A budget for the duplicates that restorations explain: what ran or returned after a backup may run again.

    The record that is set back to the backup does not know the end of such a run, or not even its start.
    """
    return sum(
        run.finished and run.begun.time <= fault.until and _end(run) >= fault.start
        for fault in restorations(history)
        for run in runs(history)
    )


def _end(run: Run) -> int:
    return run.begun.time if run.ended is None else run.ended.time


def _young(history: History) -> Set[int]:
    """The tasks that were recorded after a backup to which the record was set back: the backup does not have them."""
    copies, young = history.derive(_copies), set()
    for fault in restorations(history):
        copy = copies.get(fault.number) if fault.number is not None else None
        held = set() if copy is None else {task_of(record) for record in records(copy).values()}
        young |= {
            task_of(op) for op in history.where("enqueue") if fault.start <= op.time <= fault.until
        } - held
    return young


def _without_young(history: History) -> History:
    young = history.derive(_young)
    kept = (op for op in history.operations if op.f not in _OF_TASKS or op.value.get("task") not in young)
    return replace(history, operations=tuple(kept))


def _copies(history: History) -> Mapping[int, History]:
    """By the number of the fault that took it, what a restored backup holds: possibly nothing."""
    found: dict[int, list[Operation]] = {
        fault.number: []
        for fault in injected_faults(history)
        if fault.number is not None and fault.heal is not None and COPIED in fault.heal.value
    }
    for op in history.where(COPY):
        found.setdefault(whole(op, "fault"), []).append(replace(op, f=str(op.value.get("of"))))
    return {number: History.of(operations) for number, operations in found.items()}


def _missing(history: History, number: int, copy: History) -> Iterator[Counterexample]:
    """Tasks that were acknowledged before the backup began, and that no earlier restoration may have taken."""
    taken = next((fault for fault in injected_faults(history) if fault.number == number), None)
    known = {task_of(record) for record in records(copy).values()} | history.derive(_young)
    for op in history.where("enqueue", OperationType.OK):
        task = task_of(op)
        if taken is not None and op.time < taken.start and task not in known:
            yield Counterexample(
                kind="missing", task=task, why="there is no record of it, acknowledged before"
            )
