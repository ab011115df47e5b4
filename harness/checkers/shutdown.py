"""Does a pool that gets SIGTERM end in time, without dropping its running tasks?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History, InjectionKind, OperationType
from harness.history.faults import FaultWindow, injected_faults, killed_workers
from harness.history.fields import whole
from harness.history.figures import seconds
from harness.history.runs import Run, runs
from harness.history.workers import PoolExit, pool_exits

EARLY = 0.1
"""The number of seconds that a release may be early, because timers are coarse."""

DRAINED, RELEASED = "drained", "released"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """One pool's shutdown. Times are seconds.

    `took` is the time from the signal to the exit, None if the pool never ended. `drained` counts runs whose
    handler ended by itself, `released` those that outlived the graceful time-out and began again elsewhere.
    `after_last` is the time from the end of the pool's last run to the exit. `dropped` are the breaches that name a
    task, `breaches` the others.
    """

    pool: str
    took: float | None
    drained: int
    released: int
    after_last: float | None
    dropped: tuple[Counterexample, ...]
    breaches: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _StoppedPool:
    """A pool that got SIGTERM at `signalled` (nanoseconds), with its bounds (seconds) and its exit."""

    pool: str
    workers: frozenset[str]
    signalled: int
    exit: PoolExit | None
    graceful: float
    margin: float

    def since_signal(self, time: int) -> float:
        return seconds(time - self.signalled)


def shutdown(graceful: float, margin: float, *, minimum_running: int = 1) -> Checker:
    """A pool that gets SIGTERM ends within `graceful` + `margin` seconds, with exit code 0, and drops nothing.

    Claims, for each injected stop and the pool's own `exit` operation: the pool ends in time, with 0. Each run that
    was open at the signal, or began later in one of its workers, ends by itself before the exit (drained) or, only
    after the graceful time-out, is released and begins again outside of this pool. No worker of the pool begins a run
    later than `margin` after the signal, and none records anything after the exit. A `graceful` in the fault's value
    (seconds) replaces the argument. Workers that were also killed are left to `recovery`.

    INVALID if an exit is missing. UNKNOWN without any stop, or if fewer than `minimum_running` runs were open at all
    signals together. Does not claim that released tasks finish: `delivery` does.
    """

    def check(history: History) -> CheckResult:
        exits = {one.pid: one for one in pool_exits(history)}
        signals = [fault for fault in injected_faults(history) if fault.kind is InjectionKind.STOP]
        pools = [
            _stopped(fault, exits.get(whole(fault.injection, "pid")), graceful, margin) for fault in signals
        ]
        if not pools:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no pool got SIGTERM")
        stops = _stops(history, pools)
        dropped = [example for stop in stops for example in stop.dropped]
        of_pools = [
            {"kind": "pool", "pool": stop.pool, "why": why} for stop in stops for why in stop.breaches
        ]
        met = sum(stop.drained + stop.released for stop in stops)
        return CheckResult(
            verdict=_verdict(bool(dropped or of_pools), met < minimum_running),
            summary=_summary(stops, [one["why"] for one in of_pools] + [one.why for one in dropped], met),
            figures=_figures(stops),
            counterexamples=(*of_pools, *explain(history, dropped)),
        )

    return check


def _stopped(signal: FaultWindow, exit_: PoolExit | None, graceful: float, margin: float) -> _StoppedPool:
    own = signal.injection.value.get("graceful")
    return _StoppedPool(
        pool=str(signal.parent) if signal.pool is None else signal.pool,
        workers=frozenset(signal.workers),
        signalled=signal.start,
        exit=exit_,
        graceful=float(own) if isinstance(own, int | float) else graceful,
        margin=margin,
    )


def _stops(history: History, pools: list[_StoppedPool]) -> list[Stop]:
    by_process: dict[str, list[Run]] = {}
    by_task: dict[int, list[Run]] = {}
    for run in runs(history):
        by_process.setdefault(run.process, []).append(run)
        by_task.setdefault(run.task, []).append(run)
    killed = killed_workers(history)
    stops = []
    for pool in pools:
        own = [run for name in sorted(pool.workers - killed) for run in by_process.get(name, ())]
        concerned = [run for run in own if run.ended is None or run.ended.time >= pool.signalled]
        stops.append(_stop(pool, concerned, by_task))
    return stops


def _stop(pool: _StoppedPool, concerned: list[Run], by_task: Mapping[int, list[Run]]) -> Stop:
    endings = [_ending(run, pool, by_task[run.task]) for run in concerned]
    last = max([pool.signalled, *(run.ended.time for run in concerned if run.ended is not None)])
    return Stop(
        pool=pool.pool,
        took=None if pool.exit is None else pool.since_signal(pool.exit.time),
        drained=endings.count(DRAINED),
        released=endings.count(RELEASED),
        after_last=None if pool.exit is None else max(seconds(pool.exit.time - last), 0.0),
        dropped=tuple(
            Counterexample(kind="dropped", task=run.task, why=f"{run.process} of pool {pool.pool} {ending}")
            for run, ending in zip(concerned, endings, strict=True)
            if ending not in (DRAINED, RELEASED)
        ),
        breaches=tuple(_exit_breaches(pool)),
    )


def _exit_breaches(pool: _StoppedPool) -> Iterator[str]:
    if pool.exit is None:
        yield f"pool {pool.pool} never ended"
        return
    took, allowed = pool.since_signal(pool.exit.time), pool.graceful + pool.margin
    if took > allowed:
        yield f"pool {pool.pool} took {took:.3f} s to end, {allowed:g} s are allowed"
    if (code := pool.exit.code) != 0:
        yield f"pool {pool.pool} ended with exit code {code}"


def _ending(run: Run, pool: _StoppedPool, same_task: list[Run]) -> str:
    """`DRAINED`, `RELEASED`, or what is wrong with how this run ended."""
    late = pool.since_signal(run.begun.time)
    if late > pool.margin:
        return f"began it {late:.3f} s after the signal"
    last = (run.ended or run.begun).time
    if pool.exit is not None and last > pool.exit.time:
        return f"still ran it {seconds(last - pool.exit.time):.3f} s after the pool had ended"
    if run.ended is not None and run.ended.type is not OperationType.INFO:
        return DRAINED
    released = run.ended or pool.exit
    kept = None if released is None else pool.since_signal(released.time)
    if kept is not None and kept < pool.graceful - EARLY:
        return f"released it {kept:.3f} s after the signal, although the graceful time-out is {pool.graceful:g} s"
    if not any(one.process not in pool.workers and one.begun.time >= pool.signalled for one in same_task):
        return "released it, and it never began again"
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
        return f"{len(stops)} pools got SIGTERM, but none had a task running"
    figures = _figures(stops)
    return (
        f"{len(stops)} pools stopped, {figures['drained']} tasks drained, {figures['released']} released, "
        f"slowest stop {figures['slowest_stop']:.3f} s"
    )
