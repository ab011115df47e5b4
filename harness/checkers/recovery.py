"""How long does a task wait after its worker was killed, until another worker takes it up again?"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.transitions import TERMINAL
from harness.history import History, Operation
from harness.history.reading import (
    QUANTILES,
    Run,
    kills,
    nearest_rank,
    pids_of,
    quantiles,
    runs,
    seconds,
    task_of,
    worker,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interruption:
    """A run that was cut off by a kill.

    `waited` is the time in seconds from the kill to the next beginning of the task in a process that the same fault did
    not hit (0 where it ran elsewhere already), None where it never began again. `settled` is True where the task came
    to its end all the same: a handler of it returned elsewhere, or its record says error or canceled.
    """

    task: int
    worker: str
    fault: str
    waited: float | None
    settled: bool

    @property
    def kind(self) -> str:
        """What kind of fault it was: its name without its number."""
        return self.fault.partition(" ")[0]


def interruptions(history: History, *, from_last_kill: bool = False) -> list[Interruption]:
    """Every run whose worker was killed before the run had an outcome, in order of their beginning.

    A handler that had returned (`ok` is there) is not among them, even if its task had to run again because the record
    was not written yet. With `from_last_kill` waiting begins anew with every kill of anybody.
    """
    return list(history.derive(_since_the_last if from_last_kill else _since_its_own))


def _since_its_own(history: History) -> list[Interruption]:
    return _interruptions(history, [])


def _since_the_last(history: History) -> list[Interruption]:
    return _interruptions(history, sorted({kill.time for kill in kills(history).values()}))


def _interruptions(history: History, anew: Sequence[int]) -> list[Interruption]:
    all_runs, killed = runs(history), kills(history)
    by_task: dict[int, list[Run]] = {}
    for run in all_runs:
        by_task.setdefault(run.task, []).append(run)
    settled = {task_of(op) for op in history.where("record") if _ended_without_handler(op)}
    settled |= {run.task for run in all_runs if run.finished}
    hit: dict[int, set[str]] = {}  # by each kill, which may have hit hundreds and cut off as many runs
    for one in killed.values():
        if id(one) not in hit:
            hit[id(one)] = {worker(pid) for pid in pids_of(one)}
    return [
        _interruption(run, kill, hit[id(kill)], by_task[run.task], run.task in settled, anew)
        for run in all_runs
        if run.ended is None and (kill := killed.get(run.process)) is not None
    ]


def recovery(p99: float, *, minimum: int = 1, from_last_kill: bool = False) -> Checker:
    """Every task that a kill interrupted begins again, 99 % of them within `p99` seconds of the kill.

    The clock starts with the nemesis's `inject` operation, which it writes before it sends the signal; with
    `from_last_kill` with the last one before the task began again, where kills are so many that they hit whoever comes
    to help. INVALID where an interrupted task never began again and did not come to its end otherwise, or where the p99
    (nearest-rank) is above the bound. UNKNOWN where fewer than `minimum` runs were interrupted. Does not claim that the
    second run finished: that is `delivery`. The quantiles are figures over all, and for each kind of fault.
    """

    def check(history: History) -> CheckResult:
        found = interruptions(history, from_last_kill=from_last_kill)
        waits = sorted(one.waited for one in found if one.waited is not None)
        stuck = [one for one in found if one.waited is None and not one.settled]
        figures = _figures(found, waits, stuck, p99)
        slow = [one for one in found if one.waited is not None and one.waited > p99]
        too_slow = bool(waits) and nearest_rank(waits, QUANTILES["p99"]) > p99
        return CheckResult(
            verdict=_verdict(bool(stuck) or too_slow, len(found) < max(minimum, 1)),
            summary=_summary(found, waits, stuck, p99),
            figures=figures,
            counterexamples=explain(history, _findings(stuck, slow, p99, from_last_kill)),
        )

    return check


def _ended_without_handler(record: Operation) -> bool:
    return record.value.get("status") in TERMINAL - {"complete"}


def _interruption(
    run: Run, kill: Operation, hit: set[str], siblings: list[Run], settled: bool, anew: Sequence[int]
) -> Interruption:
    later = bisect_left(siblings, run.begun.time, key=lambda one: one.begun.time)
    again = next((one for one in _from(siblings, later) if one.process not in hit), None)
    waited = None
    if again is not None:
        earlier = bisect_left(anew, again.begun.time)
        since = max(kill.time, anew[earlier - 1] if earlier else 0)
        waited = max(seconds(again.begun.time - since), 0.0)
    return Interruption(
        task=run.task,
        worker=run.process,
        fault=f"{kill.f} {kill.value.get('fault', '')}".strip(),
        waited=waited,
        settled=settled,
    )


def _from(siblings: list[Run], index: int) -> Iterator[Run]:
    while index < len(siblings):
        yield siblings[index]
        index += 1


def _figures(
    found: list[Interruption], waits: list[float], stuck: list[Interruption], bound: float
) -> Mapping[str, float | int | None]:
    counts = {"interrupted": len(found), "resumed": len(waits), "stuck": len(stuck)}
    by_kind: dict[str, list[float]] = {one.kind: [] for one in found}
    for one in found:
        if one.waited is not None:
            by_kind[one.kind].append(one.waited)
    each = {
        f"{kind}_{name}": value for kind, times in by_kind.items() for name, value in quantiles(times).items()
    }
    return {**counts, **quantiles(waits), "bound": bound, **each}


def _verdict(bad: bool, too_few: bool) -> Verdict:
    if bad:
        return Verdict.INVALID
    return Verdict.UNKNOWN if too_few else Verdict.VALID


def _summary(found: list[Interruption], waits: list[float], stuck: list[Interruption], bound: float) -> str:
    if not found:
        return "the faults interrupted nothing"
    if not waits:
        return f"{len(found)} runs interrupted, none began again"
    p99, longest = nearest_rank(waits, QUANTILES["p99"]), waits[-1]
    text = f"{len(found)} runs interrupted, recovery p99 {p99:.3f} s (bound {bound:g} s), longest {longest:.3f} s"
    return f"{text}; {len(stuck)} never began again" if stuck else text


def _findings(
    stuck: list[Interruption], slow: list[Interruption], bound: float, from_last_kill: bool
) -> Iterator[Counterexample]:
    clock = " from the last kill on" if from_last_kill else ""
    for one in stuck:
        why = f"interrupted in {one.worker} by {one.fault} and never begun again"
        yield Counterexample(kind="stuck", task=one.task, why=why)
    for one in slow:
        waited = f"begun again after {one.waited:.3f} s{clock} (bound {bound:g} s)"
        why = f"interrupted in {one.worker} by {one.fault}, {waited}"
        yield Counterexample(kind="slow", task=one.task, why=why, more={"seconds": one.waited})
