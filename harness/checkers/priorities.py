"""Do tasks of the lowest and of the highest priority begin in time?"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, OperationType
from harness.history.faults import fault_spans
from harness.history.figures import counted, quantiles, seconds
from harness.history.runs import runs
from harness.history.submissions import RecordedSubmission, submissions

TURN = 8
"""Every `TURN`-th claim serves the lowest priority first: the guarantee of `agentexec/queue/lua/step.lua`."""

SLACK = 64
"""The number of tasks that may pass another one beyond its bound.

A task begins some time after its claim, so tasks of different workers may begin in another order than that of their
claims. The number is eight times `TURN` and covers 64 slots.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """The wait of a task between its acknowledgement and its first run, and the runs that began meanwhile.

    Times are nanoseconds; `began` is None for a task that never began. `passed` counts the runs of other
    priorities that began meanwhile, `peers` those of its own priority. `allowed` is the bound of `passed`, None if
    it is not judged.
    """

    task: int
    level: str
    acknowledged: int
    began: int | None
    passed: int = 0
    peers: int = 0
    allowed: int | None = None

    @property
    def is_breach(self) -> bool:
        """More runs passed it than its bound allows."""
        return self.allowed is not None and self.passed > self.allowed


@keeps_settings
def priorities(order: Sequence[str] = ("high", "low"), *, turn: int = TURN, minimum: int = 1) -> Checker:
    """Tasks of the lowest and of the highest priority of `order` are passed by a bounded number of other tasks.

    Every `turn`-th claim serves the lowest priority first, all others the highest. While a task of the lowest priority
    waits, each of its own priority that begins before it lets at most `turn` - 1 others pass: at most (`turn` - 1) x
    (peers begun meanwhile + 1) of other priorities begin. While a task of the highest priority waits, at most one of
    another priority begins for `turn` - 1 of its own. `SLACK` is added to both bounds, for tasks that were already
    claimed. INVALID if more tasks begin (`starved`, `inverted`).

    A wait during a fault is not judged (the worker that was hit may have leased the task), nor is that of a task with
    a lock key, which waits for its lock. UNKNOWN if fewer than `minimum` waits of the lowest priority can be judged.
    Waits by priority are figures without a bound.
    """

    def check(history: History) -> CheckResult:
        found = _waits(history, order, turn)
        judged = [one for one in found if one.level == order[-1] and one.allowed is not None]
        breaches = [one for one in found if one.is_breach]
        figures = _figures(found, order, len(judged))
        if len(judged) < minimum and not breaches:
            summary = f"{counted(len(judged), 'wait')} of priority {order[-1]} can be judged, {minimum} are required"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        summary = (
            f"{counted(len(judged), 'task')} of priority {order[-1]} served in time"
            if found
            else "the workload gave no task a priority"
        )
        if breaches:
            many = counted(len(breaches), "task", "were")
            summary = f"{many} passed by too many others; the first: {_why(breaches[0])}"
        examples = [Counterexample(kind=_kind(one, order), task=one.task, why=_why(one)) for one in breaches]
        return CheckResult(
            verdict=Verdict.INVALID if breaches else Verdict.VALID,
            summary=summary,
            figures=figures,
            counterexamples=explain(history, examples),
        )

    return check


@dataclass(frozen=True, kw_only=True, slots=True)
class _Starts:
    """The priority of each task, when runs of each priority and each task began, and the tasks with a lock key."""

    levels: Mapping[int, str]
    begun: Mapping[str, Sequence[int]]
    first: Mapping[int, int]
    locked: Set[int]


def _waits(history: History, order: Sequence[str], turn: int) -> list[Wait]:
    prioritized = [one for one in submissions(history) if one.request.value.get("priority") is not None]
    if not prioritized:
        return []
    levels = {one.task: str(one.request.value["priority"]) for one in prioritized}
    locked = {one.task for one in prioritized if one.request.value.get("lock") is not None}
    begun: dict[str, list[int]] = {level: [] for level in order}
    first: dict[int, int] = {}
    for run in runs(history):
        if run.task in levels:
            begun.setdefault(levels[run.task], []).append(run.begun.time)
            first.setdefault(run.task, run.begun.time)
            if run.begun.value.get("lock") is not None:
                locked.add(run.task)
    starts = _Starts(levels=levels, begun=begun, first=first, locked=locked)
    return list(_each(history, prioritized, starts, order, turn))


def _each(
    history: History,
    prioritized: Sequence[RecordedSubmission],
    starts: _Starts,
    order: Sequence[str],
    turn: int,
) -> Iterator[Wait]:
    end, spans = history.operations[-1].time, fault_spans(history)
    for task, _, answer in prioritized:
        if answer is None or answer.type is not OperationType.OK:
            continue
        since, level, began = answer.time, starts.levels[task], starts.first.get(task)
        until = end if began is None else max(began, since)
        if level not in (order[0], order[-1]) or task in starts.locked or _in_fault(spans, since, until):
            yield Wait(task=task, level=level, acknowledged=since, began=began)
            continue
        peers = _between(starts.begun[level], since, until)
        yield Wait(
            task=task,
            level=level,
            acknowledged=since,
            began=began,
            peers=peers,
            passed=sum(
                _between(times, since, until) for other, times in starts.begun.items() if other != level
            ),
            allowed=SLACK + ((turn - 1) * (peers + 1) if level == order[-1] else peers // (turn - 1) + 1),
        )


def _between(times: Sequence[int], after: int, before: int) -> int:
    """How many of the times lie strictly between the two."""
    return max(0, bisect_left(times, before) - bisect_right(times, after))


def _in_fault(spans: Sequence[tuple[int, int]], after: int, before: int) -> bool:
    """Whether a fault was active at any time between the two."""
    next_one = bisect_left(spans, after, key=lambda span: span[1])
    return next_one < len(spans) and spans[next_one][0] <= before


def _figures(found: Sequence[Wait], order: Sequence[str], judged: int) -> dict[str, float | int | None]:
    breaches = [_kind(one, order) for one in found if one.is_breach]
    figures: dict[str, float | int | None] = {
        "judged_waits": judged,
        "starved": breaches.count("starved"),
        "inverted": breaches.count("inverted"),
    }
    for level in order:
        waits = [
            seconds(max(0, one.began - one.acknowledged))
            for one in found
            if one.level == level and one.began is not None
        ]
        figures |= {f"wait_{level}_{name}": value for name, value in quantiles(waits).items()}
    return figures


def _kind(one: Wait, order: Sequence[str]) -> str:
    return "starved" if one.level == order[-1] else "inverted"


def _why(one: Wait) -> str:
    return (
        f"task {one.task} of priority {one.level} waited while {counted(one.passed, 'run')} of other priorities and "
        f"{one.peers} of its own began; the bound is {one.allowed}"
    )
