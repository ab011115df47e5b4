"""Does every priority get its turn? Nobody starves behind tasks of a higher one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.checker import Checker, CheckResult, Verdict
from harness.checkers._reading import fault_windows, quantiles, runs, seconds, task_of
from harness.checkers._story import Finding, tell
from harness.history import History, OperationType

TURN = 8
"""Every so many claims, one is made from the lowest priority upwards: the promise of `agentexec/lua/step.lua`."""

SLACK = 64
"""Tasks that may have begun ahead of one beyond its bound. Claims and beginnings are two moments: what other workers
claimed before may begin after, and what they claimed after may begin before. Eight turns cover 64 slots.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """How long a task waited between its acknowledgement and its first run, and who began meanwhile.

    Times are nanoseconds; `began` is None for one that never did. `overtaken` counts the runs of higher priority,
    `peers` those of its own, both for the lowest priority only. `judged` is False for
    the others, and where a fault struck meanwhile.
    """

    task: int
    level: str
    acknowledged: int
    began: int | None
    overtaken: int
    peers: int
    judged: bool


def priorities(order: Sequence[str] = ("high", "low"), *, turn: int = TURN, minimum: int = 1) -> Checker:
    """A task of the lowest priority of `order` begins before its bound, however much of higher priority there is.

    Every `turn`-th claim serves the lowest priority first. So while such a task waits, each of its own kind that begins
    before it lets at most `turn` - 1 others pass: of those that were acknowledged when it was, no more than
    (`turn` - 1) x (peers begun meanwhile + 1) of higher priority begin, and `SLACK` for what was under way. INVALID
    where more did. A wait in which a fault struck is not judged: the worker that was hit may have held the task.
    UNKNOWN where fewer than `minimum` tasks of the lowest priority were judged. Waits by priority are figures without a
    bound; that nothing higher waits behind lower ones is not claimed, since every `turn`-th claim does just that.
    """

    def check(history: History) -> CheckResult:
        found = _waits(history, order)
        low = [one for one in found if one.judged]
        starved = [one for one in low if one.overtaken > (turn - 1) * (one.peers + 1) + SLACK]
        figures = _figures(found, order, len(low), len(starved))
        if len(low) < minimum:
            summary = f"{len(low)} waits of priority {order[-1]} can be judged, {minimum} are needed"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        summary = (
            f"{len(low)} tasks of priority {order[-1]} had their turn" if low else "no task had a priority"
        )
        if starved:
            summary = f"{len(starved)} tasks starved; the first: {_why(starved[0], turn)}"
        return CheckResult(
            verdict=Verdict.INVALID if starved else Verdict.VALID,
            summary=summary,
            figures=figures,
            counterexamples=tell(
                history, [Finding(kind="starved", task=one.task, why=_why(one, turn)) for one in starved]
            ),
        )

    return check


def _waits(history: History, order: Sequence[str]) -> list[Wait]:
    levels = {
        task_of(op): str(op.value["priority"])
        for op in history.where("enqueue", OperationType.INVOKE)
        if op.value.get("priority") is not None
    }
    if not levels:
        return []
    begun: dict[str, list[int]] = {level: [] for level in order}
    first: dict[int, int] = {}
    for run in runs(history):
        if run.task in levels:
            begun.setdefault(levels[run.task], []).append(run.begun.time)
            first.setdefault(run.task, run.begun.time)
    return list(_each(history, levels, begun, first, order))


def _each(
    history: History,
    levels: Mapping[int, str],
    begun: Mapping[str, Sequence[int]],
    first: Mapping[int, int],
    order: Sequence[str],
) -> Iterator[Wait]:
    end = history.operations[-1].time
    windows = fault_windows(history)
    for op in history.where("enqueue", OperationType.OK):
        task = task_of(op)
        if task not in levels:
            continue
        level, began = levels[task], first.get(task)
        until = end if began is None else max(began, op.time)
        lowest = level == order[-1]
        yield Wait(
            task=task,
            level=level,
            acknowledged=op.time,
            began=began,
            overtaken=sum(_between(begun[one], op.time, until) for one in order[:-1]) if lowest else 0,
            peers=_between(begun[level], op.time, until) if lowest else 0,
            judged=lowest and not _struck(windows, op.time, until),
        )


def _between(times: Sequence[int], after: int, before: int) -> int:
    """How many of the times lie strictly between the two."""
    return max(0, bisect_left(times, before) - bisect_right(times, after))


def _struck(windows: Sequence[tuple[int, int]], after: int, before: int) -> bool:
    """Whether anything was broken at any time between the two."""
    next_one = bisect_left(windows, after, key=lambda window: window[1])
    return next_one < len(windows) and windows[next_one][0] <= before


def _figures(
    found: Sequence[Wait], order: Sequence[str], judged: int, starved: int
) -> dict[str, float | int | None]:
    figures: dict[str, float | int | None] = {"judged_waits": judged, "starved": starved}
    for level in order:
        waits = [
            seconds(max(0, one.began - one.acknowledged))
            for one in found
            if one.level == level and one.began is not None
        ]
        figures |= {f"wait_{level}_{name}": value for name, value in quantiles(waits).items()}
    return figures


def _why(one: Wait, turn: int) -> str:
    return (
        f"task {one.task} of priority {one.level} waited while {one.overtaken} of higher priority and {one.peers} of "
        f"its own began; {(turn - 1) * (one.peers + 1) + SLACK} may pass it"
    )
