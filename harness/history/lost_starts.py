"""Starts that the store has and no worker: a kill struck between the recorded start and the handler's first line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from harness.history.faults import FaultWindow, injected_faults
from harness.history.fields import optional_whole, subject_of, task_of
from harness.history.figures import NANOSECONDS
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.names import CLOCK
from harness.history.operation import Operation, OperationType
from harness.history.records import logs
from harness.history.runs import Run, runs
from harness.history.statuses import RUNNING, TERMINAL
from harness.history.submissions import submissions

_SOON = 1.0
"""Seconds after a recorded start within which a handler begins, unless its worker is killed."""


class LostStart(NamedTuple):
    """A recorded start without a run, the kill that explains it, and the next run of the task, if there is one.

    `run` stands for the run that did not begin: it has no end, and its process is the killed one if only one was.
    """

    run: Run
    kill: FaultWindow
    again: Run | None


def lost_starts(history: History) -> Sequence[LostStart]:
    """Every recorded start whose handler a kill prevented from beginning.

    The log has a `running` row under a fence under which no run began and nothing ended. Kills are the only faults
    between that start and the next run of the task, so a kill explains it. If the history has the time of the row
    (`at`) and the time of day (`clock`), the kill is the last one within a second of the start, else the last one
    before the next run: the true one is not later.
    """
    return history.derive(_lost_starts)


def _lost_starts(history: History) -> Sequence[LostStart]:
    if not any(fault.kind is InjectionKind.KILL for fault in injected_faults(history)):
        return []
    by_subject: dict[str, list[Run]] = {}
    for run in runs(history):
        by_subject.setdefault(run.subject, []).append(run)
    missing = {
        subject: fences
        for subject, began in by_subject.items()
        if (fences := _without_run(history, subject, began))
    }
    if not missing:
        return []
    first = {one.task: one.request.time for one in reversed(submissions(history))}
    rows = {
        (subject_of(op), op.value.get("fence")): op
        for op in history.where("transition")
        if op.value.get("status") == RUNNING and subject_of(op) in missing and op.value.get("n") == 0
    }
    clock = next(history.where(CLOCK), None)
    return [
        lost
        for subject, fences in missing.items()
        for fence in fences
        if (row := rows.get((subject, fence))) is not None
        for lost in _explained(
            history, row, fence, by_subject[subject], submitted=first.get(task_of(row), 0), clock=clock
        )
    ]


def _without_run(history: History, subject: str, began: Sequence[Run]) -> list[int]:
    """The fences that were started in the log, under which no run began and nothing ended."""
    rows = logs(history).get(subject, ())
    if len(rows) == len(began) + 2 and rows[-1].status in TERMINAL:
        return []  # the usual case: each start is a run, beside the first and the last row
    seen = {run.fence for run in began}
    ended = {row.fence for row in rows if row.status in TERMINAL}
    return [
        row.fence for row in rows if row.status == RUNNING and row.n == 0 and row.fence not in seen | ended
    ]


def _explained(
    history: History,
    row: Operation,
    fence: int,
    began: Sequence[Run],
    *,
    submitted: int,
    clock: Operation | None,
) -> Iterator[LostStart]:
    later = [run for run in began if run.fence is not None and run.fence > fence]
    again = later[0] if later else None
    until = again.begun.time if again is not None else history.operations[-1].time
    recorded = _recorded_at(row, clock)
    since = max(
        [submitted, *(run.begun.time for run in began if run.fence is not None and run.fence < fence)]
    )
    met = [
        one
        for one in injected_faults(history)
        if one.start <= until and one.until >= (since if recorded is None else recorded)
    ]
    kill = _the_kill(met, recorded)
    if kill is None:
        return
    one_worker = kill.workers[0] if len(kill.workers) == 1 else "a killed worker"
    begun = Operation(
        time=min(kill.start, since if recorded is None else recorded),
        process=one_worker,
        type=OperationType.INVOKE,
        f="run",
        value={"task": task_of(row), "activity": row.value.get("activity"), "fence": fence},
    )
    run = Run(task_of(row), subject_of(row), optional_whole(row, "fence"), begun, None)
    yield LostStart(run, kill, again)


def _the_kill(met: Sequence[FaultWindow], recorded: int | None) -> FaultWindow | None:
    """The kill that explains a lost start among the faults of its time; None if another fault may explain it."""
    if not met or any(one.kind is not InjectionKind.KILL for one in met):
        return None
    if recorded is None:
        return met[-1]
    soon = [one for one in met if one.start <= recorded + round(_SOON * NANOSECONDS)]
    return (soon or met)[-1]


def _recorded_at(row: Operation, clock: Operation | None) -> int | None:
    """When the start was recorded, on the clock of the history (nanoseconds); None if that is not known."""
    at, wall = row.value.get("at"), None if clock is None else clock.value.get("wall")
    if clock is None or not isinstance(at, int | float) or not isinstance(wall, str):
        return None
    return clock.time + round((at - datetime.fromisoformat(wall).timestamp()) * NANOSECONDS)
