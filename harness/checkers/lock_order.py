"""Do the tasks of one lock key begin in the order in which they were submitted?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import injected_faults
from harness.history.fields import optional_seconds
from harness.history.figures import NANOSECONDS, counted, seconds
from harness.history.lost_leases import LONGEST_LEASE
from harness.history.promises import promises
from harness.history.runs import runs
from harness.history.submissions import submissions
from harness.history.workers import worker_lives


class _Locked(NamedTuple):
    """A task with a lock key that its producer named. Times are nanoseconds; `answered` is None without an answer.

    `disturbed` is True if a server may have been unable to take it, or may have lost it before it began.
    """

    task: int
    requested: int
    answered: int | None
    began: int
    disturbed: bool


@keeps_settings
def lock_order() -> Checker:
    """Of two tasks with one lock key, the one that was acknowledged before the other was submitted begins first.

    Claims that of the first run of each, for tasks without a delay whose producer named the lock key. A task may begin
    later than its successors if a server had a fault between its submission and its beginning, or if it was submitted
    before the promised steady state after one (`steady_within`): it was recorded then, and reached the queue late, or
    once more. Such tasks are counted as `disturbed`. UNKNOWN if no two tasks can be compared. Does not claim anything
    about retries, or about tasks that never began.
    """

    def check(history: History) -> CheckResult:
        by_key = _locked(history)
        pairs = sum(1 for members in by_key.values() for _ in _successors(members))
        if not pairs:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no two tasks of a lock key can be compared")
        examples = [
            _example(key, earlier, later)
            for key, members in by_key.items()
            for earlier, later in _successors(members)
            if later.began < earlier.began
        ]
        compared = f"{counted(pairs, 'task')} under {counted(len(by_key), 'lock key')}"
        summary = f"{compared}, each after those that were submitted before"
        if examples:
            one = examples[0]
            summary = f"{len(examples)} of {compared} began too early; the first: task {one.task} {one.why}"
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={
                "compared": pairs,
                "early": len(examples),
                "disturbed": sum(one.disturbed for members in by_key.values() for one in members),
            },
            counterexamples=explain(history, examples),
        )

    return check


def recorded_lock_order(history: History) -> dict[str, Checker]:
    """The checker, for a history in which two tasks of a lock key can be compared."""
    comparable = any(True for members in _locked(history).values() for _ in _successors(members))
    return {"lock_order": lock_order()} if comparable else {}


def _example(key: str, earlier: _Locked, later: _Locked) -> Counterexample:
    by = seconds(earlier.began - later.began)
    why = f"began {by:.3f} s before task {earlier.task}, which was acknowledged before it, under lock key {key!r}"
    return Counterexample(kind="early", task=later.task, why=why, more={"lock": key, "seconds": by})


def _successors(members: Sequence[_Locked]) -> Iterator[tuple[_Locked, _Locked]]:
    """Each task with the one that began last among those that were acknowledged before it was submitted."""
    sure = (one for one in members if one.answered is not None and not one.disturbed)
    waiting = sorted(sure, key=attrgetter("answered"), reverse=True)
    last: _Locked | None = None
    for later in sorted(members, key=attrgetter("requested")):
        while waiting and (waiting[-1].answered or 0) < later.requested:
            last = max(filter(None, (last, waiting.pop())), key=attrgetter("began"))
        if last is not None:
            yield last, later


def _locked(history: History) -> Mapping[str, Sequence[_Locked]]:
    return history.derive(_locked_tasks)


def _locked_tasks(history: History) -> Mapping[str, Sequence[_Locked]]:
    began: dict[int, int] = {}
    for run in runs(history):
        began.setdefault(run.task, run.begun.time)
    disturbed = _disturbances(history)
    found: dict[tuple[str, int], _Locked] = {}
    for one in submissions(history):
        key, delay = one.request.value.get("lock"), optional_seconds(one.request, "delay")
        if key is None or delay or one.task not in began:
            continue
        start, answer = one.request.time, one.answer.time if one.answer and one.acknowledged else None
        met = any(since <= began[one.task] and start <= end for since, end in disturbed)
        first = found.get((str(key), one.task))
        if first is None:
            found[str(key), one.task] = _Locked(one.task, start, answer, began[one.task], met)
        elif first.answered is None:
            found[str(key), one.task] = first._replace(answered=answer, disturbed=first.disturbed or met)
    by_key: dict[str, list[_Locked]] = {}
    for (name, _), locked in found.items():
        by_key.setdefault(name, []).append(locked)
    return by_key


def _disturbances(history: History) -> Sequence[tuple[int, int]]:
    """From when until when a fault of anything but workers may have kept a task from the queue (nanoseconds)."""
    made = promises(history)
    within = None if made is None else made.steady_within
    after = round((LONGEST_LEASE if within is None else within) * NANOSECONDS)
    workers = {life.process for life in worker_lives(history)}
    return [
        (fault.start, fault.until + after)
        for fault in injected_faults(history)
        if workers.isdisjoint(fault.workers)
    ]
