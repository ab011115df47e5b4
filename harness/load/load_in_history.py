"""What became of the load of a chaos run, by its history alone: each arrival from its intended time to its end.

The client recorded when each task was due, sent and answered, the workers when it ran, and the store how it ended. A
task ends when the store's log has its last status. Without a log it ends when its handler returned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.history import DEADLOCKS, History, OperationType
from harness.history.ending import cut_short, open_end
from harness.history.fields import task_of
from harness.history.figures import NANOSECONDS, counted, seconds
from harness.history.runs import runs
from harness.history.statuses import COMPLETE, FIRST, TERMINAL
from harness.history.submissions import RecordedSubmission, submissions
from harness.llm.costs_in_history import recorded_costs
from harness.load.bill import SpentFigures
from harness.load.figures import ENQUEUE, KINDS, LATE, RUN, TASK, WAIT, Figures
from harness.load.load_record import RecordedLoad
from harness.load.machine_excuse import MeasuredSpan
from harness.load.rows import LoadRow
from harness.load.verdict import ALL, LoadBounds, LoadEvidence, WorstTask

_ONE = ""
"""The name of all tasks: the harness does not know those of an application."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCourse:
    """How a task went on after its submission; times are nanoseconds, None if the history does not have them."""

    status: str | None
    begun: int | None
    ended: int | None

    @property
    def is_over(self) -> bool:
        """Nothing can change its status."""
        return self.status in TERMINAL


@dataclass(frozen=True, kw_only=True)
class MeasuredLoad:
    """The figures of a load, and by row what each latency measures.

    `timeless` is the number of tasks that are COMPLETE at an unknown time.
    """

    figures: Figures
    spans: Mapping[str, Sequence[MeasuredSpan]]
    timeless: int


def measured_load(history: History, load: RecordedLoad) -> MeasuredLoad:
    """Measure each task that was submitted before the load ended; later ones belong to the end of the run."""
    figures, timeless = Figures(), 0
    spans: dict[str, list[MeasuredSpan]] = {}
    courses = _courses(history)
    sent = [one for one in submissions(history) if load.end is None or one.request.time <= load.end]
    counts = figures.accounting
    counts.due = load.plan["arrivals"] if load.end is not None else len(sent)
    if load.noticed is not None:
        counts.noticed = load.noticed
    counts.drop(max(0, counts.due - len(sent)))
    for one in sent:
        found = [*_count_submission(figures, load, one)]
        if one.acknowledged:
            course = courses.get(one.task, _NOTHING)
            timeless += course.status == COMPLETE and course.ended is None
            found += _count_task(figures, load, one, course)
        for row, start, end in found:
            span = MeasuredSpan(one.task, start, end)
            figures.record(row, _ONE, span.seconds)
            spans.setdefault(row, []).append(span)
    return MeasuredLoad(figures=figures, spans=spans, timeless=timeless)


def load_evidence(history: History, load: RecordedLoad, measured: MeasuredLoad) -> LoadEvidence:
    """All that the load left to be judged."""
    planned, length = float(load.plan["arrivals"]), float(load.plan["seconds"])
    rows = measured.figures.all_rows(planned=planned, seconds=length)
    found = {kind: rows[kind] for kind in KINDS}
    found[TASK].figures["lost"] = measured.figures.accounting.lost
    known = [op.value["count"] for op in history.where(DEADLOCKS) if op.value.get("count") is not None]
    figures: dict[str, float] = {"deadlocks": sum(known)} if known else {}
    bill = recorded_costs(history)
    spent = SpentFigures() if bill is None else SpentFigures.of(bill)
    found[ALL] = LoadRow(figures=figures | dict(spent.figures))
    return LoadEvidence(
        accounting=measured.figures.accounting,
        planned=planned,
        seconds=length,
        rows=found,
        bounds=LoadBounds.of(float(load.plan["lateness"])),
        gaps=list(_gaps(history, load, measured)),
        unbilled=spent.unknown,
        worst=measured.figures.worst,
        facts={
            "load": str(load.plan["text"]),
            "model": "open",
            "pacing": str(load.plan["pacing"]),
            "seed": str(load.plan["seed"]),
        },
    )


def _gaps(history: History, load: RecordedLoad, measured: MeasuredLoad) -> Iterator[str]:
    if (why := cut_short(history)) is not None:
        yield why
    elif load.end is None:
        yield "the load did not come to its end"
    elif measured.figures.accounting.lost and (why := open_end(history)) is not None:
        yield why
    if measured.timeless:
        yield f"{counted(measured.timeless, 'task', 'are')} complete, and the history does not say when"


_NOTHING = TaskCourse(status=None, begun=None, ended=None)
_Measured = Iterator[tuple[str, int, int | None]]
"""Rows with the time from which and the time to which they measure a task; None if that never came."""


def _count_submission(figures: Figures, load: RecordedLoad, one: RecordedSubmission) -> _Measured:
    """Count a submission; gives its latencies."""
    counts, due, sent = figures.accounting, one.intended, one.request.time
    counts.send(seconds(sent - due))
    figures.series.count(load.second(due), "due")
    figures.series.count(load.second(sent), "sent")
    yield LATE, due, sent
    if one.answer is not None and one.acknowledged:
        counts.acknowledged += 1
        figures.series.count(load.second(one.answer.time), "acknowledged")
        yield ENQUEUE, due, one.answer.time
        return
    refused = one.answer is not None and one.answer.type is OperationType.FAIL
    counts.refused += refused
    counts.unknown += not refused
    yield ENQUEUE, due, None


def _count_task(
    figures: Figures, load: RecordedLoad, one: RecordedSubmission, course: TaskCourse
) -> _Measured:
    """Count what became of an acknowledged task; gives its latencies."""
    complete = course.status == COMPLETE
    ended = course.ended if complete else None
    stages = [*_stages(one, course)]
    if course.is_over:
        figures.accounting.terminal[str(course.status)] += 1
    else:
        figures.accounting.lost += 1
    if course.is_over and course.ended is not None:
        figures.series.count(load.second(course.ended), "completed" if complete else "failed")
    took = math.inf if ended is None else seconds(ended - one.intended)
    figures.series.latency(load.second(one.intended), took)
    figures.note_worst(
        WorstTask(
            row=TASK,
            activity=f"task {one.task}",
            intended=load.second(one.intended),
            seconds=took,
            status=course.status,
            stages={row.lower(): seconds(end - start) for row, start, end in stages if end is not None},
        )
    )
    yield TASK, one.intended, ended
    yield from stages


def _stages(one: RecordedSubmission, course: TaskCourse) -> _Measured:
    if one.answer is None or course.begun is None or not course.is_over:
        return
    yield WAIT, one.answer.time, course.begun
    if course.ended is not None:
        yield RUN, course.begun, course.ended


def _courses(history: History) -> Mapping[int, TaskCourse]:
    """By task, how it went on: its end is the later one of its handler's and of its last status in the log."""
    begun: dict[int, int] = {}
    returned: dict[int, int] = {}
    for run in runs(history):
        begun.setdefault(run.task, run.begun.time)
        if run.finished and run.ended is not None:
            returned.setdefault(run.task, run.ended.time)
    logged, statuses = _logged_ends(history), _statuses(history)
    found: dict[int, TaskCourse] = {}
    for task in {*begun, *(statuses or {})}:
        status = statuses.get(task) if statuses is not None else COMPLETE if task in returned else None
        ends = [ends[task] for ends in (returned, logged) if task in ends]
        found[task] = TaskCourse(status=status, begun=begun.get(task), ended=max(ends, default=None))
    return found


def _statuses(history: History) -> Mapping[int, str] | None:
    """By task, the status of the store's record; None if the history has no records."""
    found: dict[int, str] = {}
    for op in history.where("record"):
        status = str(op.value.get("status")).lower()
        if found.get(task := task_of(op)) != COMPLETE:
            found[task] = status
    return found or None


def _logged_ends(history: History) -> Mapping[int, int]:
    """By task, when the store's log has its last status, on the clock of the history.

    The clock of the store is compared by the first row of each task, which was written between its submission and its
    answer.
    """
    rows = [op for op in history.where("transition") if isinstance(op.value.get("at"), int | float)]
    first: dict[int, float] = {}
    for op in rows:
        if op.value.get("status") == FIRST:  # a retry is queued again
            first[task_of(op)] = min(op.value["at"], first.get(task_of(op), math.inf))
    ahead = [
        round(first[one.task] * NANOSECONDS) - one.request.time
        for one in submissions(history)
        if one.acknowledged and one.task in first
    ]
    if not ahead:
        return {}
    ends: dict[int, int] = {}
    for op in rows:
        if op.value.get("status") in TERMINAL:
            at = round(op.value["at"] * NANOSECONDS) - min(ahead)
            ends[task_of(op)] = max(at, ends.get(task_of(op), 0))
    return ends
