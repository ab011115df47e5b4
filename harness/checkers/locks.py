"""Mutual exclusion per lock key: did two tasks with one lock key ever run at the same time?

A worker that is paused past its lease may still be in its handler when it resumes, while another worker holds the lock
legally: no lock that depends on a lease can prevent that (Kleppmann, "How to do distributed locking", 2016). Two claims
hold for every correct system; `locks` states them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import kills
from harness.history.figures import counted, seconds
from harness.history.lost_leases import lease_may_be_lost
from harness.history.records import completions
from harness.history.runs import Run, runs
from harness.history.starving import starved_lease


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Two runs of one lock key at the same time; `seconds` is how long both were certainly in their handlers.

    `counted` is True if the store accepted the completion of both, `same_task` if both are runs of one task.
    """

    key: str
    first: Run
    second: Run
    seconds: float
    counted: bool

    @property
    def same_task(self) -> bool:
        """Both are runs of one task: a redelivery that began before the earlier run had ended."""
        return self.first.task == self.second.task


@keeps_settings
def locks(*, minimum: int = 1) -> Checker:
    """Runs of tasks with one lock key exclude each other.

    Claims, for each lock key: two runs whose completions the store accepted never overlap; and two runs of different
    tasks do not overlap at all, unless a fault may have cost the first its lease before the second began
    (`lease_may_be_lost`: it paused that worker for long enough, or struck a server), or the second, if its result was
    not accepted. A run without an outcome
    certainly lasted until its worker was killed; without a kill only its beginning is certain. Overlaps that are no
    breach are counted as `fenced`. UNKNOWN if fewer than `minimum` tasks with a lock key ran, or if this machine may
    have cost the first run of each breach of the second claim its lease (`starved_lease`).
    """

    def check(history: History) -> CheckResult:
        by_key: dict[str, list[Run]] = {}
        for run in runs(history):
            if (key := run.begun.value.get("lock")) is not None:
                by_key.setdefault(str(key), []).append(run)
        tasks = len({run.task for members in by_key.values() for run in members})
        if tasks < minimum:
            summary = f"{counted(tasks, 'task')} with a lock key ran, {minimum} are required"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        return _judged(history, by_key, tasks)

    return check


def _judged(history: History, by_key: Mapping[str, list[Run]], tasks: int) -> CheckResult:
    bad: list[Overlap] = []
    lost: list[Overlap] = []
    for one in _overlaps(history, by_key):
        (bad if _is_breach(history, one) else lost).append(one)
    fenced = len(lost)
    figures: dict[str, float | int | None] = {
        "locked_tasks": tasks,
        "lock_keys": len(by_key),
        "overlaps": len(bad),
        "fenced": fenced,
        "longest_overlap": max((one.seconds for one in bad), default=None),
    }
    summary = (
        f"{counted(tasks, 'task')} under {counted(len(by_key), 'lock key')}, one at a time"
        if tasks
        else "no task had a lock key"
    )
    if fenced:
        summary += f" except for {fenced} overlaps after a lost lease"
    excuses = [_excuse(history, one) for one in bad]
    judged = [one for one, excuse in zip(bad, excuses, strict=True) if excuse is None]
    if bad:
        summary = f"{len(bad)} overlaps under a lock key; the first: {_why((judged or bad)[0])}"
        summary += "" if judged else f", which is not judged: {excuses[0]}"
    examples = [_example("overlap", one) for one in bad]
    examples += [_example("fenced", one) for one in lost]
    return CheckResult(
        verdict=Verdict.of(wrong=bool(judged), unsure=bool(bad)),
        summary=summary,
        figures=figures,
        counterexamples=explain(history, examples),
    )


class _LockedRun(NamedTuple):
    """A run, the time until which it certainly lasted (nanoseconds), and whether its completion counts."""

    run: Run
    until: int
    counts: bool


def _overlaps(history: History, by_key: Mapping[str, list[Run]]) -> Iterator[Overlap]:
    killed, completed = kills(history), completions(history)

    def locked(run: Run) -> _LockedRun:
        until = run.begun.time
        if run.ended is not None:
            until = max(until, run.ended.time)
        elif (kill := killed.get(run.process)) is not None:
            until = max(until, kill.start)
        return _LockedRun(run, until, _is_accepted(run, completed))

    for key, members in by_key.items():
        yield from _of_key(key, map(locked, members))


def _of_key(key: str, members: Iterable[_LockedRun]) -> Iterator[Overlap]:
    """Overlaps among runs in order of their beginning, in time linear in the number of runs and of overlaps."""
    going: list[_LockedRun] = []
    for one in members:
        going = [other for other in going if other.until > one.run.begun.time]
        for other in going:
            both = min(one.until, other.until) - one.run.begun.time
            if not both and other.run.begun.time == one.run.begun.time:
                continue  # the order of two runs that began at the same time is unknown
            yield Overlap(
                key=key,
                first=other.run,
                second=one.run,
                seconds=seconds(both),
                counted=one.counts and other.counts,
            )
        going.append(one)


def _is_breach(history: History, one: Overlap) -> bool:
    if one.counted or one.same_task:
        return one.counted
    if lease_may_be_lost(history, one.first, one.second.begun.time):
        return False
    # A worker that stood between its claim and its handler begins late, without knowing that its lease is over.
    refused = not _is_accepted(one.second, completions(history))
    return not (refused and lease_may_be_lost(history, one.second, one.second.begun.time))


def _is_accepted(run: Run, completed: Mapping[str, Set[int]]) -> bool:
    return run.finished and run.fence in completed.get(run.subject, ())


def _excuse(history: History, one: Overlap) -> str | None:
    return None if one.counted else starved_lease(history, one.first.begun.time, one.second.begun.time)


def _example(kind: str, one: Overlap) -> Counterexample:
    more = {"lock": one.key, "with": one.first.task, "seconds": one.seconds}
    return Counterexample(kind=kind, task=one.second.task, why=_why(one), more=more)


def _why(one: Overlap) -> str:
    return (
        f"task {one.second.task} began in {one.second.process} under lock key {one.key!r} while task {one.first.task} "
        f"ran in {one.first.process}, {one.seconds:.3f} s together"
    )
