"""Breaches in histories that are right in every other respect: exactly one checker of the usual set finds each.

Each was VALID for the whole set before.
"""

from __future__ import annotations

import pytest

from harness.checkers import shutdown, standard
from harness.checkers.asked import as_promised
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.history import InjectionKind
from harness.history.lost_starts import lost_starts
from harness.history.promises import Loss, Promises, SigtermPromise
from tests.support.histories import FAIL, INFO, OK, HistoryBuilder

LEASE = 4.0
MADE = Promises(
    survives=frozenset(Loss),
    recovers_within=dict.fromkeys(Loss, 6.0),
    takes_over_after=LEASE,
    duplicates=True,
    sigterm=SigtermPromise.RELEASES,
    fences=True,
    log=True,
    records=True,
    queue=True,
    locks=True,
    priorities=True,
    progress=True,
)
COMPLETE = (("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1))
AGAIN = (*COMPLETE[:2], ("queued", 1, 1), ("running", 2, 0), ("complete", 2, 1))


def begun(*tasks: int) -> HistoryBuilder:
    """A run that submitted tasks and completed task 9, which nothing interrupted."""
    builder = HistoryBuilder().promised(MADE).enqueued(9, *tasks)
    return builder.ran(9, by=14).recorded(9).logged(9, *COMPLETE)


def judged(builder: HistoryBuilder) -> dict[str, CheckResult]:
    """The results of the usual set that are not VALID, after a drain that ended in order."""
    history = builder.drained().queue(held=[]).exited(parent=2).history
    results = as_promised(check_all(standard(minimum_faults=0), history), history)
    fine = (Verdict.VALID, Verdict.NOT_ASKED)
    # A run without a kill has no recovery to measure.
    return {
        name: one
        for name, one in results.items()
        if one.verdict not in fine and (name, one.verdict) != ("recovery", Verdict.UNKNOWN)
    }


def only(builder: HistoryBuilder, checker: str) -> str:
    """The summary of the one checker that finds something, which has to be this one, INVALID."""
    found = judged(builder)
    assert {name: one.verdict for name, one in found.items()} == {checker: Verdict.INVALID}, found
    return found[checker].summary


def twice(builder: HistoryBuilder, task: int, *, first: int, second: int) -> HistoryBuilder:
    """The task returns in two workers, and the second run counts."""
    builder.ran(task, by=first).ran(task, by=second, fence=2)
    return builder.recorded(task, fence=2).logged(task, *AGAIN)


# A kill explains what came after it.


def test_a_kill_does_not_excuse_a_duplicate_that_began_before_it() -> None:
    builder = twice(begun(1, 2), 1, first=12, second=13)
    builder.at(100).began(2, by=12).killed(12).ran(2, by=13, fence=2)
    assert "1 surplus execution of 1 task, 0 excused" in only(
        builder.recorded(2, fence=2).logged(2, *AGAIN), "duplicates"
    )


def test_a_kill_excuses_the_duplicate_that_it_caused() -> None:
    builder = begun(1).ran(1, by=12).killed(12).ran(1, by=13, fence=2)
    assert not judged(builder.recorded(1, fence=2).logged(1, *AGAIN))


def test_two_kills_of_one_task_do_not_excuse_the_duplicate_of_another() -> None:
    """Both workers of task 1 were killed, and it returned twice: one duplicate, which one kill explains."""
    builder = begun(1, 2).ran(1, by=12).killed(12).ran(1, by=13, fence=2).killed(13)
    builder.recorded(1, fence=2).logged(1, *AGAIN)
    assert "2 surplus executions of 2 tasks, 1 excused" in only(
        twice(builder, 2, first=15, second=16), "duplicates"
    )


# Nothing is recorded after the end of a pool.


@pytest.mark.parametrize("what", ["effect", "report", "run"])
@pytest.mark.parametrize("by_fault", [True, False])
def test_no_worker_records_anything_after_its_pool_ended(what: str, by_fault: bool) -> None:
    builder = begun(1)
    builder.op("pool-1", OK, "start", pid=1, pids=[12])
    if what != "run":
        builder.ran(1, by=12)
    builder.recorded(1)
    if by_fault:
        builder.sigterm(12)
    builder.exited().at(5)
    if what == "effect":
        builder.effect(1, by=12).effect(9, by=14)
    elif what == "report":
        builder.reported(1, 50).logged(1, *COMPLETE[:2], ("running", 1, 1, 50), ("complete", 1, 2))
    else:
        builder.began(1, by=12, fence=1).ended(1, by=12, fence=1, outcome=FAIL)
    if what != "report":
        builder.logged(1, *COMPLETE)
    found = judged(builder)
    assert found["exits"].verdict is Verdict.INVALID
    assert "after its pool had ended" in found["exits"].summary


@pytest.mark.parametrize("what", ["effect", "report"])
def test_a_stop_that_a_fault_made_shows_it_too(what: str) -> None:
    builder = begun(1).ran(1, by=12).began(2, by=12).sigterm(12).ended(2, by=12).exited().at(5)
    builder = builder.effect(1, by=12) if what == "effect" else builder.reported(1, 50)
    result = shutdown(graceful=1.0, margin=1.0)(builder.history)
    assert result.verdict is Verdict.INVALID
    assert "after the pool had ended" in result.summary


# A run needs its own start in the log.


def test_a_run_under_a_fence_that_the_log_does_not_have() -> None:
    builder = begun(1).began(1, by=12, fence=1).ended(1, by=12, fence=1, outcome=INFO).ran(1, by=13, fence=2)
    builder.recorded(1, fence=2).logged(1, COMPLETE[0], ("running", 2, 0), ("complete", 2, 1))
    assert (
        "the run of worker-12 under fence 1 in the state queued under fence 0, 0 started: no start was recorded"
        in only(builder, "protocol")
    )


def test_a_run_of_an_activity_that_was_canceled_before_its_start() -> None:
    builder = begun(1).began(1, by=12).ended(1, by=12, outcome=INFO)
    builder.recorded(1, status="canceled").logged(1, ("queued", 0, 0), ("canceled", 1, 0))
    found = judged(builder)
    assert found.pop("delivery").verdict is Verdict.INVALID
    assert [(name, one.verdict) for name, one in found.items()] == [("protocol", Verdict.INVALID)]
    assert "under fence 1 in the state canceled under fence 1, 0 started" in found["protocol"].summary


# A fault excuses what it may have caused.


def overlapping(builder: HistoryBuilder) -> HistoryBuilder:
    """Two tasks of one lock key run at the same time, 100 s after the start; only one of them completes."""
    builder.at(100).locked("account", 1, 2).began(1, by=12).began(2, by=13)
    builder.at(101).ended(1, by=12, outcome=INFO).ended(2, by=13)
    builder.at(103).ran(1, by=13, fence=2).recorded(1, fence=2).recorded(2)
    return builder.logged(1, *AGAIN).logged(2, *COMPLETE)


def pause(builder: HistoryBuilder, pids: list[int], seconds: float) -> HistoryBuilder:
    return builder.injected("pause-worker", pids=pids, seconds=seconds, loss="worker-paused")


@pytest.mark.parametrize(
    ("pids", "at", "seconds"),
    [
        ([14], 0.5, 0.1),  # an uninvolved worker, long ago, shortly
        ([12], 0.5, 10.0),  # long ago
        ([14], 99.9, 10.0),  # an uninvolved worker
        ([13], 99.9, 10.0),  # the worker that came second: its lease is not the one that ended
        ([12], 100.0, 0.1),  # too short for a lease to end
    ],
)
def test_a_fault_that_cannot_have_cost_the_lease_excuses_no_overlap(
    pids: list[int], at: float, seconds: float
) -> None:
    builder = pause(begun(1, 2).at(at), pids, seconds)
    assert "1 overlaps under a lock key" in only(overlapping(builder), "locks")


def test_a_long_pause_of_the_worker_that_has_the_lock_excuses_the_overlap() -> None:
    assert not judged(overlapping(pause(begun(1, 2).at(95), [12], 5.5)))


@pytest.mark.parametrize(("at", "excused"), [(0.5, False), (99.0, True)])
def test_a_fault_of_a_server_excuses_the_overlaps_of_its_time(at: float, excused: bool) -> None:
    builder = begun(1, 2).at(at).injected("flush-redis", InjectionKind.DATA_LOSS, loss="broker-emptied")
    found = judged(overlapping(builder))
    assert ("locks" not in found) is excused


# A kill between the recorded start and the handler.


def killed_before_its_handler(*, again: float | None, after: float = 1.0) -> HistoryBuilder:
    builder = begun(1, 2).at(after).began(2, by=12).killed(12)
    builder.ran(2, by=13, fence=2).recorded(2, fence=2).logged(2, *AGAIN)
    if again is None:
        return builder.recorded(1, status="error", fence=2).logged(1, *AGAIN[:3], ("error", 2, 0))
    builder.at(again).ran(1, by=13, fence=2).recorded(1, fence=2)
    return builder.logged(1, *AGAIN)


def test_a_task_killed_between_its_start_and_its_handler_counts_as_interrupted() -> None:
    assert "2 runs interrupted" in only(killed_before_its_handler(again=101.0), "recovery")
    assert not judged(killed_before_its_handler(again=6.0))


def test_a_start_that_was_cut_off_counts_also_if_it_is_the_last_row_of_its_log() -> None:
    builder = begun(1).at(1).ran(1, by=12).killed(12).killed(13)
    history = builder.logged(1, *AGAIN[:2], ("running", 2, 0)).history
    assert [(one.run.fence, one.again) for one in lost_starts(history)] == [(2, None)]


def test_a_start_that_was_lost_otherwise_is_no_interruption_by_a_kill() -> None:
    """A pause at the same time may have cost the lease, so the kill is not known to be the cause."""
    builder = killed_before_its_handler(again=101.0)
    assert "recovery" in judged(builder)
    assert "recovery" not in judged(pause(killed_before_its_handler(again=101.0).at(50), [15], 5.0))
