"""Runs that a fault interrupted without killing their worker, and how long their tasks waited for the next run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.history.faults import FaultWindow, injected_faults, kills
from harness.history.figures import NANOSECONDS, seconds
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.interruptions import Interruption, settled_tasks
from harness.history.operation import OperationType
from harness.history.promises import Loss, losses_of, promises
from harness.history.runs import Run, runs
from harness.history.workers import next_worker_up, stopped_pools


def promised_resumptions(history: History) -> frozenset[Loss]:
    """The losses of the run that killed no worker, and after which the system promises a recovery time."""
    made = promises(history)
    if made is None:
        return frozenset()
    alive = [losses_of(one) for one in injected_faults(history) if one.kind is not InjectionKind.KILL]
    return frozenset().union(*alive) & made.recovers_within.keys()


def resumptions(history: History) -> Sequence[Interruption]:
    """Every run that such a loss interrupted, in order of the faults, as far as its promises bound the time.

    A run is interrupted if it was open during the fault window and
      - its worker was paused while another worker or pool was up, until the task began again or for longer than the
        promised time: `since` is the beginning of the pause, or when that worker was up;
      - it was stopped (`info`) in the window, or within the promised time after it: `since` is the heal, or its stop;
      - it has no outcome, and no kill explains that: `since` is the heal, and `certain` is False.
    A run that returned or failed otherwise was not interrupted, nor was one whose task began again before the fault.
    `since` is never before another worker or pool was up, if the history shows one.
    """
    return history.derive(_resumptions)


def faults_met(history: History, fault: FaultWindow, until: int) -> Sequence[FaultWindow]:
    """The faults that were active between the start of a fault and `until` (nanoseconds), itself included."""
    return [one for one in injected_faults(history) if one.start <= until and one.until >= fault.start]


def _resumptions(history: History) -> Sequence[Interruption]:
    made = promises(history)
    if made is None:
        return []
    by_task: dict[int, list[Run]] = {}
    for run in runs(history):
        by_task.setdefault(run.task, []).append(run)
    found: dict[int, Interruption] = {}
    for fault in injected_faults(history):
        taken = losses_of(fault)
        if fault.kind is not InjectionKind.KILL and taken and taken <= made.recovers_within.keys():
            # Of several faults, the last one interrupted the run, unless a pause alone was too long.
            for one in _interrupted(history, fault, by_task, made.recovers_within):
                if id(one.run) not in found or not found[id(one.run)].certain or one.certain:
                    found[id(one.run)] = one
    return list(found.values())


def _interrupted(
    history: History, fault: FaultWindow, by_task: Mapping[int, list[Run]], promised: Mapping[Loss, float]
) -> Iterator[Interruption]:
    killed, hit, settled = kills(history), frozenset(fault.workers), settled_tasks(history)
    up = next_worker_up(history, fault.start, without=hit)
    for run in runs(history):
        if run.process in killed or (hit and run.process not in hit) or not _open_in(run, fault):
            continue
        siblings = by_task[run.task]
        again = next(iter(siblings[siblings.index(run) + 1 :]), None)
        if again is not None and again.begun.time < fault.start:
            continue  # the next run was under way before the fault: that one may be interrupted
        until = fault.until if again is None else again.begun.time
        met = frozenset().union(*(losses_of(one) for one in faults_met(history, fault, until)))
        if not met <= promised.keys():
            continue
        bound = round(max(promised[loss] for loss in met) * NANOSECONDS)
        cut = _cut_off(history, run, fault, again, up=up, bound=bound)
        if cut is not None:
            since, certain = cut
            waited = None if again is None else max(0.0, seconds(again.begun.time - since))
            yield Interruption(
                run=run,
                fault=fault,
                again=again,
                since=since,
                waited=waited,
                settled=run.task in settled,
                certain=certain,
            )


def _open_in(run: Run, fault: FaultWindow) -> bool:
    return run.begun.time <= fault.until and (run.ended is None or run.ended.time >= fault.start)


def _cut_off(
    history: History, run: Run, fault: FaultWindow, again: Run | None, *, up: int | None, bound: int
) -> tuple[int, bool] | None:
    """Since when the task of this run waits, and whether that is certain; None if the run was not interrupted."""
    if fault.kind is InjectionKind.PAUSE and fault.workers and up is not None:
        since = max(fault.start, run.begun.time, up)
        taken_over = again is not None and again.begun.time <= fault.until
        if taken_over or since + bound < fault.until:
            return since, True
    healed = max(fault.until, run.begun.time, up or 0)
    if run.ended is None:
        return healed, False
    if run.ended.type is not OperationType.INFO or run.ended.time > fault.until + bound:
        return None
    if any(stop.time <= run.ended.time for stop in stopped_pools(history).values()):
        return None
    return max(healed, run.ended.time), True
