"""How long does a task wait after the kill of its worker until another worker begins it again?

The time counts from the moment at which a worker was up to run the task: the harness itself starts the pool that
replaces a killed one, and that start is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History
from harness.history.ending import open_end
from harness.history.faults import injected_faults
from harness.history.figures import QUANTILES, nearest_rank, quantiles
from harness.history.interruptions import Interruption, interruptions
from harness.history.machine import bound_lost_to_machine
from harness.history.promises import losses_of, promises
from harness.history.workers import pool_starts

DEFAULT_P99 = 2.0
"""Seconds, for a history without a promise."""


def recovery(p99: float | None = None, *, minimum: int = 1, from_last_kill: bool = False) -> Checker:
    """Every task that a kill interrupted begins again, 99 % of them within `p99` seconds.

    Without `p99` the bound of a task is the longest promise for the kill and for what other faults took while the task
    waited, or `DEFAULT_P99` without any promise. Tasks with one bound are judged together.
    The clock starts with the nemesis's `inject` operation, which it records before it sends the signal, or when
    another worker or pool was up if none was then. With `from_last_kill` it starts with the last kill before the task
    began again, if that is later: for runs with so many kills that they hit the replacements too. INVALID if an
    interrupted task never began again and did not end otherwise, or if the p99 (nearest-rank) is above the bound.
    UNKNOWN if fewer than `minimum` runs were interrupted, if the run ended too early to say that a task never began
    again (`open_end`), or if only the tasks that this machine slowed down make the p99 too long
    (`bound_lost_to_machine`). Does not claim that the second run finished: `delivery` does. Quantiles are given over
    all interruptions and by the name of the fault.
    """

    def check(history: History) -> CheckResult:
        found = interruptions(history, from_last_kill=from_last_kill)
        bounds = {id(one): _bound(history, one) if p99 is None else p99 for one in found}
        waits = sorted(one.waited for one in found if one.waited is not None)
        stuck = [one for one in found if one.is_stuck]
        slow = [one for one in found if one.waited is not None and one.waited > bounds[id(one)]]
        shown = [bounds[id(one)] for one in (slow[:1] or found)]
        bound = max(shown, default=DEFAULT_P99 if p99 is None else p99)
        excuses = {
            id(one): text for one in slow if (text := _excuse(history, one, bounds[id(one)])) is not None
        }
        why = open_end(history) if stuck else None
        bad = (bool(stuck) and why is None) or _exceeds(found, bounds, excuses)
        doubts = [
            *([] if why is None else [f"those are not judged: {why}"]),
            *(
                [f"the bound of {bound:g} s is not judged: {next(iter(excuses.values()))}"]
                if excuses and _exceeds(found, bounds)
                else []
            ),
        ]
        figures = _figures(found, waits, stuck, bound) | {"from_last_kill": int(from_last_kill)}
        return CheckResult(
            verdict=Verdict.of(wrong=bad, unsure=bool(doubts) or len(found) < max(minimum, 1)),
            summary="; ".join([_summary(found, waits, stuck, bound), *([] if bad else doubts)]),
            figures=figures | _starts(history, found),
            counterexamples=explain(history, _examples(stuck, slow, bounds, from_last_kill)),
        )

    return check


def _exceeds(
    found: Sequence[Interruption], bounds: Mapping[int, float], excused: Container[int] = ()
) -> bool:
    """Whether the p99 of the tasks with one bound is above it; a wait that the machine excuses counts as none."""
    by_bound: dict[float, list[float]] = {}
    for one in found:
        if one.waited is not None:
            waited = 0.0 if id(one) in excused else one.waited
            by_bound.setdefault(bounds[id(one)], []).append(waited)
    return any(nearest_rank(sorted(waits), QUANTILES["p99"]) > bound for bound, waits in by_bound.items())


def _excuse(history: History, one: Interruption, bound: float) -> str | None:
    if one.again is None or one.waited is None:
        return None
    return bound_lost_to_machine(history, one.since, one.again.begun.time, bound=bound)


def _starts(history: History, found: Sequence[Interruption]) -> dict[str, float | int | None]:
    """How long the harness's own starts of pools took, and how long no worker was up after a kill."""
    times = [start.took for start in pool_starts(history) if start.took is not None]
    return {
        "pool_start_max": max(times, default=None),
        "unattended_max": max((one.unattended for one in found), default=None),
    }


def _bound(history: History, one: Interruption) -> float:
    """The longest promise for the kill, and for the faults that were injected or not healed while the task waited."""
    made = promises(history)
    if made is None or not made.recovers_within:
        return DEFAULT_P99
    until = one.fault.start if one.again is None else one.again.begun.time
    met = [
        fault for fault in injected_faults(history) if fault.start <= until and fault.until >= one.fault.start
    ]
    taken = frozenset().union(*map(losses_of, met))
    return max((time for loss, time in made.recovers_within.items() if loss in taken), default=DEFAULT_P99)


def _figures(
    found: Sequence[Interruption], waits: list[float], stuck: list[Interruption], bound: float
) -> dict[str, float | int | None]:
    counts = {"interrupted": len(found), "resumed": len(waits), "stuck": len(stuck)}
    by_fault: dict[str, list[float]] = {one.fault.name: [] for one in found}
    for one in found:
        if one.waited is not None:
            by_fault[one.fault.name].append(one.waited)
    each = {
        f"{fault}_{name}": value
        for fault, times in by_fault.items()
        for name, value in quantiles(times).items()
    }
    return {**counts, **quantiles(waits), "bound": bound, **each}


def _summary(
    found: Sequence[Interruption], waits: list[float], stuck: list[Interruption], bound: float
) -> str:
    if not found:
        return "the faults interrupted nothing"
    if not waits:
        return f"{len(found)} runs interrupted, none began again"
    p99, longest = nearest_rank(waits, QUANTILES["p99"]), waits[-1]
    text = f"{len(found)} runs interrupted, recovery p99 {p99:.3f} s (bound {bound:g} s), longest {longest:.3f} s"
    return f"{text}; {len(stuck)} never began again" if stuck else text


def _examples(
    stuck: list[Interruption], slow: list[Interruption], bounds: Mapping[int, float], from_last_kill: bool
) -> Iterator[Counterexample]:
    last = " from the last kill on" if from_last_kill else ""
    for one in stuck:
        why = f"interrupted in {one.worker} by {one.fault.label} and never begun again"
        yield Counterexample(kind="stuck", task=one.task, why=why)
    for one in slow:
        clock = last or (" from the first worker on" if one.unattended else "")
        waited = f"begun again after {one.waited:.3f} s{clock} (bound {bounds[id(one)]:g} s)"
        why = f"interrupted in {one.worker} by {one.fault.label}, {waited}"
        yield Counterexample(kind="slow", task=one.task, why=why, more={"seconds": one.waited})
