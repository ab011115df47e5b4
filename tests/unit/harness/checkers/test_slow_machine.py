"""A bound of time that is exceeded: INVALID on a quiet machine, UNKNOWN on one that was too slow to judge it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.checkers import availability, duplicates, exits, locks, recovery, shutdown
from harness.checkers.base import Checker, Verdict
from harness.history.interruptions import interruptions
from harness.history.promises import Promises
from tests.support.histories import INFO, INVOKE, OK, HistoryBuilder


def slow_recovery() -> HistoryBuilder:
    return HistoryBuilder().at(1).began(1, by=12).at(2).killed(12).at(6).ran(1, by=13, fence=2)


def slow_stop() -> HistoryBuilder:
    return HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12).ended(1, by=12).at(6).exited()


def late_start() -> HistoryBuilder:
    return (
        HistoryBuilder()
        .at(1)
        .began(1, by=12)
        .at(2)
        .sigterm(12)
        .ended(1, by=12)
        .at(5.5)
        .ran(2, by=12)
        .exited()
    )


def early_release() -> HistoryBuilder:
    builder = HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12).at(5).ended(1, by=12, outcome=INFO)
    return builder.exited().ran(1, by=13, fence=2)


def pool_that_had_to_be_killed() -> HistoryBuilder:
    builder = HistoryBuilder().at(2).op("pool-1", INFO, "stop", pid=1, seconds=12.0)
    return builder.at(14).op("pool-1", INFO, "kill", pid=1).exited(code=-9)


def overlap_under_a_lock() -> HistoryBuilder:
    builder = HistoryBuilder().promised(Promises(takes_over_after=3.0)).locked("key", 1, 2)
    return builder.at(1).began(1, by=12).at(6).ran(2, by=13).ended(1, by=12)


def surplus_without_a_kill() -> HistoryBuilder:
    builder = HistoryBuilder().promised(Promises(takes_over_after=3.0))
    return builder.at(1).began(1, by=12).at(6).ran(1, by=13, fence=2).ended(1, by=12)


def slow_submission() -> HistoryBuilder:
    builder = (
        HistoryBuilder()
        .at(1)
        .injected("stall-redis", seconds=9.0)
        .at(2)
        .op("client", INVOKE, "enqueue", task=1)
    )
    return builder.at(6).op("client", OK, "enqueue", task=1, activity="a1")


BOUNDS: list[tuple[Callable[[], HistoryBuilder], Checker]] = [
    (slow_recovery, recovery(2.0)),
    (slow_stop, shutdown(1.0, 1.0)),
    (late_start, shutdown(2.0, 2.0)),
    (early_release, shutdown(4.0, 1.0)),
    (pool_that_had_to_be_killed, exits()),
    (overlap_under_a_lock, locks()),
    (surplus_without_a_kill, duplicates(0)),
    (slow_submission, availability(enqueue_p99=2.0)),
]
each_bound = pytest.mark.parametrize(
    ("built", "checker"), BOUNDS, ids=lambda one: getattr(one, "__name__", "")
)


@each_bound
def test_a_bound_is_not_judged_while_the_machine_could_not_keep_up(
    built: Callable[[], HistoryBuilder], checker: Checker
) -> None:
    assert checker(built().history).verdict is Verdict.INVALID, "a history without a gauge is judged"
    assert checker(built().slow_machine(0, 15).history).verdict is Verdict.INVALID, "so is a quiet machine"
    for slow in ({"spin": 4.0}, {"delay": 0.45}):
        found = checker(built().slow_machine(0, 15, **slow).history)
        assert found.verdict is Verdict.UNKNOWN, slow
        assert "this machine took away about" in found.summary


@each_bound
def test_a_machine_that_was_slow_at_another_time_excuses_nothing(
    built: Callable[[], HistoryBuilder], checker: Checker
) -> None:
    slow_before_and_after = (
        built().slow_machine(0, 0.5, spin=9.0).slow_machine(1, 15).slow_machine(16, 20, spin=9.0)
    )
    assert checker(slow_before_and_after.history).verdict is Verdict.INVALID


def test_a_slow_machine_does_not_excuse_what_no_machine_explains() -> None:
    builder = (
        HistoryBuilder()
        .promised(Promises(takes_over_after=3.0))
        .locked("key", 1, 2)
        .slow_machine(0, 9, spin=9.0)
    )
    builder.at(1).began(1, by=12).at(6).began(2, by=13).at(7).ended(1, by=12).ended(2, by=13).recorded(1, 2)
    assert locks()(builder.history).verdict is Verdict.INVALID, "the store accepted both completions"
    crashed = (
        pool_that_had_to_be_killed().slow_machine(0, 15, spin=9.0).op("pool-2", INFO, "exit", pid=2, code=1)
    )
    assert exits()(crashed.history).verdict is Verdict.INVALID


def test_one_slow_recovery_on_a_quiet_machine_is_invalid_beside_others_on_a_slow_one() -> None:
    builder = slow_recovery().slow_machine(0, 10, spin=4.0)
    assert recovery(2.0)(builder.history).verdict is Verdict.UNKNOWN
    builder.slow_machine(11, 30).at(20).began(2, by=14).at(21).killed(14).at(24).ran(2, by=15, fence=2)
    found = recovery(2.0)(builder.history)
    assert found.verdict is Verdict.INVALID
    assert "not judged" not in found.summary


def test_a_lease_is_excused_only_by_a_machine_that_starved_it_for_about_its_length() -> None:
    builder = surplus_without_a_kill()
    for second in range(8):
        builder.slow_machine(second, second + 0.5, delay=0.2 * (second == 3))
    assert duplicates(0)(builder.history).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("slow", "runs", "verdict"),
    [
        ((5, 10), 3, Verdict.UNKNOWN),
        ((0, 4), 3, Verdict.UNKNOWN),
        ((0, 4), 4, Verdict.INVALID),
    ],
)
def test_the_lease_of_each_run_is_excused_by_itself(
    slow: tuple[int, int], runs: int, verdict: Verdict
) -> None:
    builder = HistoryBuilder().promised(Promises(takes_over_after=3.0))
    builder.at(1).began(1, by=12).at(4.5).began(1, by=13, fence=2)
    for fence in range(3, runs + 1):
        builder.at(10 + fence / 10).ran(1, by=11 + fence, fence=fence)
    builder.ended(1, by=13, fence=2).slow_machine(*slow, spin=9.0)
    assert duplicates(0)(builder.history).verdict is verdict


def hello(builder: HistoryBuilder, at: float, pid: int) -> HistoryBuilder:
    return builder.at(at).op(f"worker-{pid}", INFO, "hello", pid=pid)


def killed_pool() -> HistoryBuilder:
    """The only pool is killed at 2 s, and the harness needs 7 s to start another one."""
    builder = hello(hello(HistoryBuilder(), 0.5, 12), 0.6, 13).at(1).began(1, by=12)
    builder.at(2).killed(1, 12, 13, fault="kill-pool").op("pool-2", INVOKE, "start")
    return hello(builder, 9, 20)


def test_recovery_counts_from_the_moment_at_which_a_worker_was_there_to_recover() -> None:
    builder = killed_pool().at(9.4).ran(1, by=20, fence=2)
    [one] = interruptions(builder.history)
    assert one.waited == pytest.approx(0.4, abs=0.01)
    assert one.unattended == pytest.approx(7.0, abs=0.01)
    found = recovery(2.0)(builder.history)
    assert found.verdict is Verdict.VALID
    assert found.figures["unattended_max"] == pytest.approx(7.0, abs=0.01)


def test_a_task_that_waits_although_a_worker_is_there_is_too_slow() -> None:
    assert recovery(2.0)(killed_pool().at(12).ran(1, by=20, fence=2).history).verdict is Verdict.INVALID


def test_a_worker_that_was_up_at_the_kill_starts_the_clock_with_the_kill() -> None:
    builder = hello(HistoryBuilder(), 0.4, 30).at(0.5)
    builder = hello(builder, 0.5, 12).at(1).began(1, by=12).at(2).killed(12)
    builder = hello(builder, 9, 20).at(9.4).ran(1, by=20, fence=2)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(7.4)]


def test_a_worker_that_was_killed_before_or_whose_pool_stops_is_not_there_to_recover() -> None:
    builder = hello(hello(hello(HistoryBuilder(), 0.3, 30), 0.4, 31), 0.5, 12)
    builder.at(1).began(1, by=12).at(1.2).killed(30).at(1.4).sigterm(31).at(2).killed(12)
    builder = hello(builder, 9, 20).at(9.4).ran(1, by=20, fence=2)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(0.4)]


def started(builder: HistoryBuilder, at: float, pid: int, name: str = "pool-1") -> HistoryBuilder:
    return builder.at(at).op(name, OK, "start", pid=pid, pids=[])


def test_a_pool_that_lives_is_there_and_has_to_replace_its_workers_itself() -> None:
    builder = hello(started(HistoryBuilder(), 0.4, 1), 0.5, 12).at(1).began(1, by=12).at(2).killed(12)
    builder = hello(builder, 9, 20).at(9.4).ran(1, by=20, fence=2)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(7.4)]


@pytest.mark.parametrize("end", ["killed", "terminated", "exited"])
def test_a_pool_that_does_not_live_on_is_not_there(end: str) -> None:
    builder = hello(started(HistoryBuilder(), 0.4, 1), 0.5, 12).at(1).began(1, by=12)
    if end == "terminated":
        builder.at(1.5).sigterm(parent=1)
    if end == "exited":
        builder.at(1.5).exited(parent=1, code=1)
    builder.at(2).killed(*((1, 12) if end == "killed" else (12,)))
    builder = hello(started(builder, 8, 2, "pool-2"), 9, 20).at(9.4).ran(1, by=20, fence=2)
    assert [one.waited for one in interruptions(builder.history)] == [pytest.approx(1.4)]


def test_the_start_of_a_pool_is_a_figure_of_its_own() -> None:
    builder = HistoryBuilder().op("pool-1", INVOKE, "start").at(3).op("pool-1", OK, "start")
    found = recovery(2.0)(builder.history)
    assert found.figures["pool_start_max"] == pytest.approx(3.0)


@pytest.mark.parametrize(("waited", "verdict"), [(8.0, Verdict.UNKNOWN), (60.0, Verdict.INVALID)])
@pytest.mark.parametrize("spin", [2.2, 3.0])
def test_a_machine_that_is_busy_all_the_time_does_not_excuse_any_time_however_long(
    spin: float, waited: float, verdict: Verdict
) -> None:
    busy = HistoryBuilder().slow_machine(0, 70, spin=spin)
    recovered = HistoryBuilder.of(busy).at(1).began(1, by=12).at(2).killed(12).at(2 + waited)
    assert recovery(2.0)(recovered.ran(1, by=13, fence=2).history).verdict is verdict
    stopped = HistoryBuilder.of(busy).at(1).began(1, by=12).at(2).sigterm(12).ended(1, by=12)
    assert shutdown(1.0, 1.0)(stopped.at(2 + waited).exited().history).verdict is verdict
    late = HistoryBuilder.of(busy).at(2).sigterm(12).at(2 + waited).ran(2, by=12).exited()
    assert shutdown(65.0, 2.0)(late.history).verdict is verdict
    asked = HistoryBuilder.of(busy).at(1).injected("stall-redis", seconds=9.0).at(2)
    asked.op("client", INVOKE, "enqueue", task=1).at(2 + waited).op("client", OK, "enqueue", task=1)
    assert availability(enqueue_p99=2.0)(asked.history).verdict is verdict


@pytest.mark.parametrize(
    ("built", "checker"), [(overlap_under_a_lock, locks()), (surplus_without_a_kill, duplicates(0))]
)
def test_a_machine_on_which_a_lease_is_renewed_in_time_excuses_no_lost_lease(
    built: Callable[[], HistoryBuilder], checker: Checker
) -> None:
    assert checker(built().slow_machine(0, 15, spin=2.2).history).verdict is Verdict.INVALID
    assert checker(built().slow_machine(0, 15, spin=3.5).history).verdict is Verdict.UNKNOWN
