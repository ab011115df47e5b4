"""What became of the load of a chaos run, by its history alone: each arrival from its intended time to its end.

The client recorded when each task was due, sent and answered, the workers when it ran, and the store how it ended. A
task ends when the store's log has its last status. Without a log it ends when its handler returned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.history import DEADLOCKS, History, OperationType
from harness.history.ending import cut_short, open_end
from harness.history.fields import task_of
from harness.history.figures import NANOSECONDS, counted, seconds
from harness.history.runs import runs
from harness.history.statuses import COMPLETE, FIRST, TERMINAL
from harness.history.submissions import RecordedSubmission, submissions
from harness.llm.costs_in_history import recorded_costs
from harness.load.bill import SpentFigures
from harness.load.evidence import evidence_of
from harness.load.figures import ENQUEUE, LATE, RUN, TASK, WAIT, Figures
from harness.load.gauge_record import recorded_samples
from harness.load.load_record import RecordedLoad
from harness.load.machine_excuse import MeasuredSpan
from harness.load.resources import Sampled
from harness.load.verdict import LoadEvidence, WorstTask

_NAMELESS = ""
"""The name of tasks that have none: those of the bundled targets have numbers only."""


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
    """The figures of a load, and by row what each latency measures, also by the rows of each task name.

    `sampled` are the gauges. `timeless` is the number of tasks that are COMPLETE at an unknown time.
    """

    figures: Figures
    sampled: Sampled
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
        name = one.name or _NAMELESS
        for kind, start, end in found:
            span = MeasuredSpan(one.task, start, end)
            figures.record(kind, name, span.seconds)
            for row in (kind, f"{kind} {name}"):
                spans.setdefault(row, []).append(span)
    sampled = recorded_samples(history)
    figures.series.merge(sampled.series)
    return MeasuredLoad(figures=figures, sampled=sampled, spans=spans, timeless=timeless)


def load_evidence(history: History, load: RecordedLoad, measured: MeasuredLoad) -> LoadEvidence:
    """All that the load left to be judged."""
    known = [op.value["count"] for op in history.where(DEADLOCKS) if op.value.get("count") is not None]
    bill = recorded_costs(history)
    spent = SpentFigures() if bill is None else SpentFigures.of(bill)
    evidence = evidence_of(
        measured.figures,
        measured.sampled,
        planned=float(load.plan["arrivals"]),
        seconds=float(load.plan["seconds"]),
        # The gauges are sampled until the drain, which has the tasks after the faults too.
        tasks=sum(one.acknowledged for one in submissions(history)),
        of_all={
            "deadlocks": sum(known) if known else None,
            **spent.figures,
        },
        lateness=float(load.plan["lateness"]),
    )
    facts = {name: str(load.plan[key]) for name, key in _FACTS.items()}
    gaps = list(_gaps(history, load, measured))
    return replace(evidence, gaps=gaps, unbilled=spent.unknown, facts={"model": "open", **facts})


_FACTS = {"load": "text", "pacing": "pacing", "seed": "seed"}


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
    yield from _enqueue(one)
    if one.answer is not None and one.acknowledged:
        counts.acknowledged += 1
        figures.series.count(load.second(one.answer.time), "acknowledged")
        return
    refused = one.answer is not None and one.answer.type is OperationType.FAIL
    counts.refused += refused
    counts.unknown += not refused


def _count_task(
    figures: Figures, load: RecordedLoad, one: RecordedSubmission, course: TaskCourse
) -> _Measured:
    """Count what became of an acknowledged task; gives its latencies."""
    complete, name = course.status == COMPLETE, one.name or _NAMELESS
    ended = course.ended if complete else None
    if course.is_over:
        figures.accounting.terminal[str(course.status)] += 1
    else:
        figures.note_lost(name)
    if course.is_over and course.ended is not None:
        figures.series.count(load.second(course.ended), "completed" if complete else "failed")
    stages = [*_stages(one, course)]
    lasted = [*_enqueue(one), *stages]
    figures.note_course(
        WorstTask(
            row=f"{TASK} {name}".rstrip(),
            activity=f"task {one.task}",
            intended=load.second(one.intended),
            seconds=math.inf if ended is None else seconds(ended - one.intended),
            status=course.status,
            stages={kind.lower(): seconds(end - start) for kind, start, end in lasted if end is not None},
        ),
        complete=complete,
    )
    yield TASK, one.intended, ended
    yield from stages


def _enqueue(one: RecordedSubmission) -> _Measured:
    yield ENQUEUE, one.intended, one.answer.time if one.answer is not None and one.acknowledged else None


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
        if str(op.value.get("status")) in TERMINAL:
            at = round(op.value["at"] * NANOSECONDS) - min(ahead)
            ends[task_of(op)] = max(at, ends.get(task_of(op), 0))
    return ends
