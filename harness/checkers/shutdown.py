"""Does a pool that is told to stop do so in time, without dropping what it was doing?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History, Operation, OperationType
from harness.history.reading import (
    SIGTERM,
    Run,
    injections,
    killed_workers,
    pids_of,
    runs,
    seconds,
    whole,
    worker,
)

EARLY = 0.1
"""Seconds by which a release may come before the time-out and still count as on time: the coarseness of timers."""

DRAINED, RELEASED = "drained", "released"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """One pool's shutdown. Times are seconds.

    `took` is the time from the signal to the exit, None where the pool never ended. `drained` counts runs whose handler
    came to its own end, `released` those that outlived the graceful time-out and began again elsewhere. `after_last` is
    how long the pool still needed once its last run had ended. `dropped` are the breaches that name a task, `faults`
    those that name none.
    """

    pool: str
    took: float | None
    drained: int
    released: int
    after_last: float | None
    dropped: tuple[Counterexample, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """A pool that was told to stop, what it was told, and when it ended (both in nanoseconds)."""

    pool: str
    workers: frozenset[str]
    signalled: int
    exit: Operation | None
    graceful: float
    margin: float

    def since_signal(self, time: int) -> float:
        return seconds(time - self.signalled)


def shutdown(graceful: float, margin: float, *, minimum_running: int = 1) -> Checker:
    """A pool that gets SIGTERM ends within `graceful` + `margin` seconds, with exit code 0, and drops nothing.

    Claims, for each injected `sigterm` and the pool's own `exit` operation: it ends in time, with 0; each run that was
    open at the signal or began later in one of its workers comes to its own end before the exit (drained) or, but only
    once the graceful time-out is over, is let go and begins again outside of this pool (released); no worker of it
    begins a run later than `margin` after the signal; and none records anything after the exit. A `graceful` in the
    fault's value (seconds) takes the place of the argument. Workers that were killed besides are left to `recovery`.

    INVALID where an exit is missing. UNKNOWN without any sigterm, and where all of them together met fewer than
    `minimum_running` runs. Does not claim that released tasks finish: that is `delivery`.
    """

    def check(history: History) -> CheckResult:
        exits = {op.value.get("pid"): op for op in history.where("exit")}
        signals = [op for op in injections(history) if op.f == SIGTERM]
        told = [_told(op, exits.get(whole(op, "pid")), graceful, margin) for op in signals]
        if not told:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no pool was told to stop")
        stops = _stops(history, told)
        dropped = [finding for stop in stops for finding in stop.dropped]
        faults = [{"kind": "pool", "pool": stop.pool, "why": why} for stop in stops for why in stop.faults]
        met = sum(stop.drained + stop.released for stop in stops)
        return CheckResult(
            verdict=_verdict(bool(dropped or faults), met < minimum_running),
            summary=_summary(stops, [fault["why"] for fault in faults] + [one.why for one in dropped], met),
            figures=_figures(stops),
            counterexamples=(*faults, *explain(history, dropped)),
        )

    return check


def _told(signal: Operation, exit_: Operation | None, graceful: float, margin: float) -> _Told:
    promised = signal.value.get("graceful")
    return _Told(
        pool=str(signal.value.get("pool", signal.value["pid"])),
        workers=frozenset(worker(pid) for pid in pids_of(signal)),
        signalled=signal.time,
        exit=exit_,
        graceful=float(promised) if isinstance(promised, int | float) else graceful,
        margin=margin,
    )


def _stops(history: History, pools: list[_Told]) -> list[Stop]:
    by_process: dict[str, list[Run]] = {}
    by_task: dict[int, list[Run]] = {}
    for run in runs(history):
        by_process.setdefault(run.process, []).append(run)
        by_task.setdefault(run.task, []).append(run)
    killed = killed_workers(history)
    stops = []
    for told in pools:
        own = [run for name in sorted(told.workers - killed) for run in by_process.get(name, ())]
        concerned = [run for run in own if run.ended is None or run.ended.time >= told.signalled]
        stops.append(_stop(told, concerned, by_task))
    return stops


def _stop(told: _Told, concerned: list[Run], by_task: Mapping[int, list[Run]]) -> Stop:
    endings = [_ending(run, told, by_task[run.task]) for run in concerned]
    last = max([told.signalled, *(run.ended.time for run in concerned if run.ended is not None)])
    return Stop(
        pool=told.pool,
        took=None if told.exit is None else told.since_signal(told.exit.time),
        drained=endings.count(DRAINED),
        released=endings.count(RELEASED),
        after_last=None if told.exit is None else max(seconds(told.exit.time - last), 0.0),
        dropped=tuple(
            Counterexample(kind="dropped", task=run.task, why=f"{run.process} of pool {told.pool} {ending}")
            for run, ending in zip(concerned, endings, strict=True)
            if ending not in (DRAINED, RELEASED)
        ),
        faults=tuple(_exit_faults(told)),
    )


def _exit_faults(told: _Told) -> Iterator[str]:
    if told.exit is None:
        yield f"pool {told.pool} never ended"
        return
    took, allowed = told.since_signal(told.exit.time), told.graceful + told.margin
    if took > allowed:
        yield f"pool {told.pool} took {took:.3f} s to end, {allowed:g} s are allowed"
    if (code := told.exit.value.get("code")) != 0:
        yield f"pool {told.pool} ended with exit code {code}"


def _ending(run: Run, told: _Told, same_task: list[Run]) -> str:
    """`DRAINED`, `RELEASED`, or what is wrong with how this run ended."""
    late = told.since_signal(run.begun.time)
    if late > told.margin:
        return f"began it {late:.3f} s after the signal"
    last_words = (run.ended or run.begun).time
    if told.exit is not None and last_words > told.exit.time:
        return f"was still at it {seconds(last_words - told.exit.time):.3f} s after the pool had ended"
    if run.ended is not None and run.ended.type is not OperationType.INFO:
        return DRAINED
    let_go = run.ended or told.exit
    held = None if let_go is None else told.since_signal(let_go.time)
    if held is not None and held < told.graceful - EARLY:
        return (
            f"let it go {held:.3f} s after the signal, although the graceful time-out is {told.graceful:g} s"
        )
    if not any(one.process not in told.workers and one.begun.time >= told.signalled for one in same_task):
        return "let it go, and nobody began it again"
    return RELEASED


def _verdict(bad: bool, too_few: bool) -> Verdict:
    if bad:
        return Verdict.INVALID
    return Verdict.UNKNOWN if too_few else Verdict.VALID


def _figures(stops: list[Stop]) -> Mapping[str, float | int | None]:
    return {
        "signals": len(stops),
        "drained": sum(stop.drained for stop in stops),
        "released": sum(stop.released for stop in stops),
        "slowest_stop": max((stop.took for stop in stops if stop.took is not None), default=None),
        "stop_after_last_task": max((s.after_last for s in stops if s.after_last is not None), default=None),
    }


def _summary(stops: list[Stop], wrong: list[str], met: int) -> str:
    if wrong:
        return f"{len(wrong)} breaches of a graceful stop; the first: {wrong[0]}"
    if not met:
        return f"{len(stops)} pools told to stop, but none had a task running"
    figures = _figures(stops)
    return (
        f"{len(stops)} pools stopped, {figures['drained']} tasks drained, {figures['released']} released, "
        f"slowest stop {figures['slowest_stop']:.3f} s"
    )
