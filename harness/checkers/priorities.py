"""Does every priority get its turn, the lowest as well as the highest?"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History, OperationType
from harness.history.reading import fault_windows, quantiles, runs, seconds, task_of

TURN = 8
"""Every so many claims, one is made from the lowest priority upwards: the promise of `agentexec/queue/lua/step.lua`."""

SLACK = 64
"""Tasks that may have begun ahead of one beyond its bound. Claims and beginnings are two moments: what other workers
claimed before may begin after, and what they claimed after may begin before. Eight turns cover 64 slots.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """How long a task waited between its acknowledgement and its first run, and who began meanwhile.

    Times are nanoseconds; `began` is None for one that never did. `passed` counts the runs of other priorities that
    began meanwhile and `allowed` how many may, None where that is not judged; `peers` counts those of its own.
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
        """More passed it than may."""
        return self.allowed is not None and self.passed > self.allowed


def priorities(order: Sequence[str] = ("high", "low"), *, turn: int = TURN, minimum: int = 1) -> Checker:
    """Nobody of the lowest priority of `order` starves, and nobody of the highest waits for more than turns cost.

    Every `turn`-th claim serves the lowest priority first, all others the highest. So while a task of the lowest waits,
    each of its own kind that begins before it lets at most `turn` - 1 others pass: no more than (`turn` - 1) x (peers
    begun meanwhile + 1) of other priorities begin. While one of the highest waits, no more than one of another begins
    for `turn` - 1 of its own. Both with `SLACK` for what was under way. INVALID where more did (`starved`, `inverted`).

    Not judged is a wait in which a fault struck (the worker that was hit may have held the task), and that of a task
    with a lock key, which waits for its lock. UNKNOWN where fewer than `minimum` waits of the lowest priority can be
    judged. Waits by priority are figures without a bound.
    """

    def check(history: History) -> CheckResult:
        found = _waits(history, order, turn)
        judged = [one for one in found if one.level == order[-1] and one.allowed is not None]
        breaches = [one for one in found if one.is_breach]
        figures = _figures(found, order, len(judged))
        if len(judged) < minimum and not breaches:
            summary = f"{len(judged)} waits of priority {order[-1]} can be judged, {minimum} are needed"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        summary = (
            f"{len(judged)} tasks of priority {order[-1]} had their turn"
            if found
            else "no task had a priority"
        )
        if breaches:
            summary = f"{len(breaches)} tasks were passed by too many; the first: {_why(breaches[0])}"
        findings = [Counterexample(kind=_kind(one, order), task=one.task, why=_why(one)) for one in breaches]
        return CheckResult(
            verdict=Verdict.INVALID if breaches else Verdict.VALID,
            summary=summary,
            figures=figures,
            counterexamples=explain(history, findings),
        )

    return check


@dataclass(frozen=True, kw_only=True, slots=True)
class _Starts:
    """When runs of each priority began, when each task first did, and which tasks have a lock key."""

    begun: Mapping[str, Sequence[int]]
    first: Mapping[int, int]
    locked: Set[int]


def _waits(history: History, order: Sequence[str], turn: int) -> list[Wait]:
    asked = [
        op for op in history.where("enqueue", OperationType.INVOKE) if op.value.get("priority") is not None
    ]
    if not asked:
        return []
    levels = {task_of(op): str(op.value["priority"]) for op in asked}
    locked = {task_of(op) for op in asked if op.value.get("lock") is not None}
    begun: dict[str, list[int]] = {level: [] for level in order}
    first: dict[int, int] = {}
    for run in runs(history):
        if run.task in levels:
            begun.setdefault(levels[run.task], []).append(run.begun.time)
            first.setdefault(run.task, run.begun.time)
            if run.begun.value.get("lock") is not None:
                locked.add(run.task)
    starts = _Starts(begun=begun, first=first, locked=locked)
    return list(_each(history, levels, starts, order, turn))


def _each(
    history: History, levels: Mapping[int, str], starts: _Starts, order: Sequence[str], turn: int
) -> Iterator[Wait]:
    end, windows = history.operations[-1].time, fault_windows(history)
    for op in history.where("enqueue", OperationType.OK):
        task = task_of(op)
        if task not in levels:
            continue
        level, began = levels[task], starts.first.get(task)
        until = end if began is None else max(began, op.time)
        if level not in (order[0], order[-1]) or task in starts.locked or _struck(windows, op.time, until):
            yield Wait(task=task, level=level, acknowledged=op.time, began=began)
            continue
        peers = _between(starts.begun[level], op.time, until)
        yield Wait(
            task=task,
            level=level,
            acknowledged=op.time,
            began=began,
            peers=peers,
            passed=sum(
                _between(times, op.time, until) for other, times in starts.begun.items() if other != level
            ),
            allowed=SLACK + ((turn - 1) * (peers + 1) if level == order[-1] else peers // (turn - 1) + 1),
        )


def _between(times: Sequence[int], after: int, before: int) -> int:
    """How many of the times lie strictly between the two."""
    return max(0, bisect_left(times, before) - bisect_right(times, after))


def _struck(windows: Sequence[tuple[int, int]], after: int, before: int) -> bool:
    """Whether anything was broken at any time between the two."""
    next_one = bisect_left(windows, after, key=lambda window: window[1])
    return next_one < len(windows) and windows[next_one][0] <= before


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
        f"task {one.task} of priority {one.level} waited while {one.passed} of other priorities and {one.peers} of its "
        f"own began; {one.allowed} may pass it"
    )
