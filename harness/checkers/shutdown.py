"""Does a pool that gets SIGTERM end in time, without dropping its running tasks?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, InjectionKind, OperationType
from harness.history.ending import cut_short, open_end, stopped_at
from harness.history.faults import FaultWindow, injected_faults, killed_workers
from harness.history.fields import optional_seconds, whole
from harness.history.figures import counted, seconds
from harness.history.late_records import late_records
from harness.history.machine import bound_lost_to_machine, lost_to_machine
from harness.history.promises import Loss, SigtermPromise, losses_of, promises
from harness.history.runs import Run, runs
from harness.history.workers import PoolExit, accepted_codes, killed_pools, pool_exits

EARLY = 0.1
"""The number of seconds that a release may be early, because timers are coarse."""

DRAINED, RELEASED = "drained", "released"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """One pool's shutdown. Times are seconds.

    `took` is the time from the signal to the exit, None if the pool never ended. `drained` counts runs whose
    handler ended by itself, `released` those that outlived the graceful time-out and began again elsewhere.
    `after_last` is the time from the end of the pool's last run to the exit. `breaches` are those of the pool and
    `dropped` those that name a task.
    """

    pool: str
    took: float | None
    drained: int
    released: int
    after_last: float | None
    breaches: tuple[Breach, ...]
    dropped: tuple[Breach, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """What is wrong with a pool, or with the run of `task`, and the `excuse` for which it is not judged."""

    why: str
    excuse: str | None = None
    task: int | None = None


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


@keeps_settings
def shutdown(graceful: float, margin: float, *, minimum_running: int = 1) -> Checker:
    """A pool that gets SIGTERM ends within `graceful` + `margin` seconds, with an accepted code, and drops nothing.

    Claims, for each injected stop and the pool's own `exit` operation: the pool ends in time, with 0 or the codes that
    the system promises. Each run that was open at the signal, or began later in one of its workers, ends by itself
    before the exit (drained) or, only after the graceful time-out, is released and begins again outside of this pool.
    No worker of the pool begins a run later than `margin` after the signal, and none records anything after the exit.
    A `graceful` in the fault's value (seconds) replaces the argument. Workers that were also killed are left to
    `recovery`. A system that promises to drain is not asked about a stop with a task that outlives the time-out.

    INVALID if an exit is missing. UNKNOWN without any stop, or if fewer than `minimum_running` runs were open at all
    signals together. UNKNOWN also if each breach has an excuse: it depends on the end of a run that ended too early
    (`open_end`), or this machine was too slow to judge its time (`lost_to_machine`). Does not claim that released tasks
    finish: `delivery` does.
    """

    def check(history: History) -> CheckResult:
        exits = {one.pid: one for one in pool_exits(history)}
        sent = [fault for fault in injected_faults(history) if fault.kind is InjectionKind.STOP]
        signals = [fault for fault in sent if _is_asked(history, fault)]
        pools = [
            _stopped(fault, exits.get(whole(fault.injection, "pid")), graceful, margin) for fault in signals
        ]
        if not pools:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no pool got SIGTERM")
        stops = _stops(history, pools)
        of_pools = [(stop.pool, breach) for stop in stops for breach in stop.breaches]
        dropped = [breach for stop in stops for breach in stop.dropped]
        wrong = [*(breach for _, breach in of_pools), *dropped]
        met = sum(stop.drained + stop.released for stop in stops)
        examples = [
            Counterexample(kind="dropped", task=one.task, why=one.why)
            for one in dropped
            if one.task is not None
        ]
        return CheckResult(
            verdict=Verdict.of(
                wrong=any(one.excuse is None for one in wrong),
                unsure=bool(wrong) or met < minimum_running - (len(sent) - len(signals)),
            ),
            summary=_summary(stops, wrong, met),
            figures=_figures(stops),
            counterexamples=(
                *({"kind": "pool", "pool": pool, "why": one.why} for pool, one in of_pools),
                *explain(history, examples),
            ),
        )

    return check


def _is_asked(history: History, signal: FaultWindow) -> bool:
    """Whether the pool promises to end: one that drains does not while a task goes on."""
    made = promises(history)
    drains = made is not None and made.sigterm is SigtermPromise.DRAINS
    return not (drains and Loss.SIGTERM_LATE in losses_of(signal))


def _stopped(signal: FaultWindow, exit_: PoolExit | None, graceful: float, margin: float) -> _StoppedPool:
    own = optional_seconds(signal.injection, "graceful")
    return _StoppedPool(
        pool=str(signal.parent) if signal.pool is None else signal.pool,
        workers=frozenset(signal.workers),
        signalled=signal.start,
        exit=exit_,
        graceful=graceful if own is None else own,
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
        stops.append(_stop(history, pool, concerned, by_task))
    return stops


def _stop(
    history: History, pool: _StoppedPool, concerned: list[Run], by_task: Mapping[int, list[Run]]
) -> Stop:
    endings = [_ending(history, run, pool, by_task[run.task]) for run in concerned]
    last = max([pool.signalled, *(run.ended.time for run in concerned if run.ended is not None)])
    return Stop(
        pool=pool.pool,
        took=None if pool.exit is None else pool.since_signal(pool.exit.time),
        drained=endings.count(DRAINED),
        released=endings.count(RELEASED),
        after_last=None if pool.exit is None else max(seconds(pool.exit.time - last), 0.0),
        breaches=tuple(_exit_breaches(history, pool)),
        dropped=tuple(
            replace(ending, task=run.task, why=f"{run.process} of pool {pool.pool} {ending.why}")
            for run, ending in zip(concerned, endings, strict=True)
            if isinstance(ending, Breach)
        ),
    )


def _exit_breaches(history: History, pool: _StoppedPool) -> Iterator[Breach]:
    if pool.exit is None:
        yield Breach(why=f"pool {pool.pool} never ended", excuse=cut_short(history))
        return
    late = late_records(history).get(pool.exit.pid)
    # A run that ended after the exit names its task, see `_ending`.
    if late is not None and late.operation.f != "run":
        after, op = seconds(late.operation.time - pool.exit.time), late.operation
        yield Breach(why=f"{op.process} recorded {op.f!r} {after:.3f} s after the pool had ended")
    took, allowed = pool.since_signal(pool.exit.time), pool.graceful + pool.margin
    stopped, excuse = stopped_at(history), None
    if stopped is not None and pool.exit.time >= stopped:
        excuse = cut_short(history)
    elif took > allowed:
        excuse = bound_lost_to_machine(history, pool.signalled, pool.exit.time, bound=allowed)
    if took > allowed:
        yield Breach(
            why=f"pool {pool.pool} took {took:.3f} s to end, {allowed:g} s are allowed", excuse=excuse
        )
    if (code := pool.exit.code) not in accepted_codes(history, pool.exit):
        # A pool that the harness killed, because it was late, has the excuse of its lateness; any other has none.
        ended_by_harness = pool.exit.pid in killed_pools(history)
        yield Breach(
            why=f"pool {pool.pool} ended with exit code {code}", excuse=excuse if ended_by_harness else None
        )


def _ending(history: History, run: Run, pool: _StoppedPool, same_task: list[Run]) -> str | Breach:
    """`DRAINED`, `RELEASED`, or what is wrong with how this run ended."""
    late = pool.since_signal(run.begun.time)
    if late > pool.margin:
        excuse = bound_lost_to_machine(history, pool.signalled, run.begun.time, bound=pool.margin)
        return Breach(why=f"began it {late:.3f} s after the signal", excuse=excuse)
    last = (run.ended or run.begun).time
    if pool.exit is not None and last > pool.exit.time:
        return Breach(why=f"still ran it {seconds(last - pool.exit.time):.3f} s after the pool had ended")
    if run.ended is not None and run.ended.type is not OperationType.INFO:
        return DRAINED
    released = run.ended or pool.exit
    kept = None if released is None else pool.since_signal(released.time)
    if released is not None and kept is not None and kept < pool.graceful - EARLY:
        why = f"released it {kept:.3f} s after the signal, although the graceful time-out is {pool.graceful:g} s"
        early = pool.graceful - EARLY - kept
        excuse = lost_to_machine(history, pool.signalled, released.time, excess=early)
        return Breach(why=why, excuse=excuse)
    if not any(one.process not in pool.workers and one.begun.time >= pool.signalled for one in same_task):
        return Breach(why="released it, and it never began again", excuse=open_end(history))
    return RELEASED


def _figures(stops: list[Stop]) -> Mapping[str, float | int | None]:
    return {
        "signals": len(stops),
        "drained": sum(stop.drained for stop in stops),
        "released": sum(stop.released for stop in stops),
        "slowest_stop": max((stop.took for stop in stops if stop.took is not None), default=None),
        "stop_after_last_task": max((s.after_last for s in stops if s.after_last is not None), default=None),
    }


def _summary(stops: list[Stop], wrong: Sequence[Breach], met: int) -> str:
    if wrong:
        first = next((one for one in wrong if one.excuse is None), wrong[0])
        text = f"{len(wrong)} breaches of a graceful stop; the first: {first.why}"
        return text if first.excuse is None else f"{text}, which is not judged: {first.excuse}"
    if not met:
        return f"{counted(len(stops), 'pool')} got SIGTERM, but none had a task running"
    figures = _figures(stops)
    return (
        f"{counted(len(stops), 'pool')} stopped, {counted(int(figures['drained'] or 0), 'task')} drained, "
        f"{figures['released']} released, slowest stop {figures['slowest_stop']:.3f} s"
    )
