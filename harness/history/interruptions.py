"""Runs that a kill cut off, and how long their tasks waited for the next run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import islice

from harness.history.faults import FaultWindow, kills
from harness.history.fields import task_of
from harness.history.figures import seconds
from harness.history.history import History
from harness.history.lost_starts import lost_starts
from harness.history.operation import Operation
from harness.history.runs import Run, runs
from harness.history.statuses import COMPLETE, TERMINAL
from harness.history.workers import first_worker_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Interruption:
    """A run that a fault cut off: by the kill of its worker, or otherwise (`harness.history.resumptions`).

    `again` is the next run of the task in a process that the same fault did not hit, None if there is none. `since` is
    when another worker or pool was up to run the task again (nanoseconds): the kill, or later (`first_worker_up`).
    `waited` is the time in seconds from `since` to the beginning of `again`: 0 if that run had begun already, None
    without `again`. `settled` is True if the task ended in another way: a handler returned, or its record says error or
    canceled. `certain` is False if the history does not show when the run was cut off, or that it was. With `healed`,
    `since` is the heal of another fault, which kept the task from beginning.
    """

    run: Run
    fault: FaultWindow
    again: Run | None
    since: int
    waited: float | None
    settled: bool
    certain: bool = True
    healed: bool = False

    @property
    def task(self) -> int:
        """The number of the task."""
        return self.run.task

    @property
    def worker(self) -> str:
        """The worker that was killed."""
        return self.run.process

    @property
    def unattended(self) -> float:
        """Seconds after the kill without any worker that could run the task."""
        return max(0.0, seconds(self.since - self.fault.start))

    @property
    def is_stuck(self) -> bool:
        """The task neither began again nor ended otherwise."""
        return self.again is None and not self.settled


def interruptions(history: History, *, from_last_kill: bool = False) -> Sequence[Interruption]:
    """Every run whose worker was killed before the run had an outcome, in order of their beginning.

    A start that the store has and whose handler did not begin because of a kill is among them (`lost_starts`).

    A run with a recorded `ok` is not among them, even if its task had to run again because its result was not recorded
    yet. With `from_last_kill`, `waited` starts with the last kill of any process before `again`, if that is later.
    """
    return history.derive(_from_last_kill if from_last_kill else _from_own_kill)


def settled_tasks(history: History) -> Set[int]:
    """The tasks that ended: a handler returned, or their record says error or canceled."""
    recorded = {task_of(op) for op in history.where("record") if _ended_without_handler(op)}
    return recorded | {run.task for run in runs(history) if run.finished}


def _from_own_kill(history: History) -> Sequence[Interruption]:
    return _interruptions(history, [])


def _from_last_kill(history: History) -> Sequence[Interruption]:
    return _interruptions(history, sorted({fault.start for fault in kills(history).values()}))


def _interruptions(history: History, restarts: Sequence[int]) -> Sequence[Interruption]:
    all_runs, killed = runs(history), kills(history)
    by_task: dict[int, list[Run]] = {}
    for run in all_runs:
        by_task.setdefault(run.task, []).append(run)
    settled = settled_tasks(history)
    # Computed once for each fault, because one fault can kill hundreds of workers and cut off as many runs.
    hit: dict[int, frozenset[str]] = {}
    attended: dict[int, int] = {}
    for kill in (*killed.values(), *(one.kill for one in lost_starts(history))):
        if id(kill) not in hit:
            hit[id(kill)] = frozenset(kill.workers)
            attended[id(kill)] = first_worker_up(history, kill.start, without=hit[id(kill)])
    cut_off = [
        (run, fault, by_task[run.task])
        for run in all_runs
        if run.ended is None and (fault := killed.get(run.process)) is not None
    ]
    cut_off += [(one.run, one.kill, [one.again] if one.again else []) for one in lost_starts(history)]
    return [
        _interruption(
            run,
            fault,
            hit[id(fault)],
            siblings,
            attended=attended[id(fault)],
            settled=run.task in settled,
            restarts=restarts,
        )
        for run, fault, siblings in sorted(cut_off, key=lambda one: one[0].begun.time)
    ]


def _ended_without_handler(record: Operation) -> bool:
    return str(record.value.get("status")) in TERMINAL - {COMPLETE}


def _interruption(
    run: Run,
    fault: FaultWindow,
    hit: frozenset[str],
    siblings: Sequence[Run],
    *,
    attended: int,
    settled: bool,
    restarts: Sequence[int],
) -> Interruption:
    later = bisect_left(siblings, run.begun.time, key=lambda one: one.begun.time)
    again = next((one for one in islice(siblings, later, None) if one.process not in hit), None)
    waited, since = None, attended
    if again is not None:
        earlier = bisect_left(restarts, again.begun.time)
        since = max(since, restarts[earlier - 1] if earlier else 0)
        waited = max(seconds(again.begun.time - since), 0.0)
    return Interruption(run=run, fault=fault, again=again, since=since, waited=waited, settled=settled)
