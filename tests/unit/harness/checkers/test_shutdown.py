from __future__ import annotations

import pytest

from harness.checkers import shutdown
from harness.checkers.asked import as_promised
from harness.checkers.base import CheckResult, Verdict
from harness.history import InjectionKind, OperationType
from harness.history.promises import Loss, Promises, SigtermPromise
from tests.support.histories import FAIL, INFO, OK, HistoryBuilder

GRACEFUL, MARGIN = 5.0, 1.0


def check(builder: HistoryBuilder) -> CheckResult:
    return shutdown(GRACEFUL, MARGIN)(builder.history)


def reasons(result: CheckResult) -> list[str]:
    return [one["why"] for one in result.counterexamples]


def running() -> HistoryBuilder:
    """Task 1 runs in worker 12 when the pool is stopped, at 2 s."""
    return HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12, 13)


def test_a_pool_that_finishes_its_task_and_ends_with_zero_is_valid() -> None:
    result = check(running().at(4).ended(1, by=12).at(4.5).exited())
    assert result.verdict is Verdict.VALID
    assert result.figures == {
        "signals": 1,
        "drained": 1,
        "released": 0,
        "slowest_stop": 2.5,
        "stop_after_last_task": 0.5,
    }


def test_a_handler_that_failed_on_its_own_is_drained_too() -> None:
    assert check(running().ended(1, by=12, outcome=FAIL).exited()).figures["drained"] == 1


def test_a_task_that_outlives_the_time_out_and_runs_again_elsewhere_is_released() -> None:
    result = check(
        running().at(7.01).ended(1, by=12, outcome=INFO).at(7.2).exited().at(8).ran(1, by=20, fence=2)
    )
    assert result.verdict is Verdict.VALID
    assert (result.figures["drained"], result.figures["released"]) == (0, 1)


def test_a_task_without_outcome_past_the_time_out_is_released_if_it_runs_again() -> None:
    builder = running().at(7.2).exited()
    assert reasons(check(builder)) == ["worker-12 of pool pool-1 released it, and it never began again"]
    assert check(builder.ran(1, by=20, fence=2)).verdict is Verdict.VALID


def test_an_earlier_run_elsewhere_does_not_take_up_what_is_let_go() -> None:
    builder = (
        HistoryBuilder().began(1, by=20).at(1).began(1, by=12, fence=2).at(2).sigterm(12).at(7.2).exited()
    )
    assert reasons(check(builder)) == ["worker-12 of pool pool-1 released it, and it never began again"]


def test_a_rerun_inside_the_pool_that_stops_is_no_release() -> None:
    result = check(running().began(1, by=13, fence=2).at(7.2).exited())
    assert result.verdict is Verdict.INVALID
    assert len(result.counterexamples) == 2


def test_a_task_that_is_dropped_before_the_time_out_is_invalid_even_if_it_runs_again() -> None:
    result = check(running().at(3).ended(1, by=12, outcome=INFO).exited().ran(1, by=20, fence=2))
    assert result.verdict is Verdict.INVALID
    assert reasons(result) == [
        "worker-12 of pool pool-1 released it 1.000 s after the signal, although the graceful time-out is 5 s"
    ]
    assert result.counterexamples[0]["task"] == 1


def test_a_worker_that_vanished_with_its_task_before_the_time_out_is_invalid() -> None:
    assert check(running().at(3).exited().ran(1, by=20, fence=2)).verdict is Verdict.INVALID


def test_a_pool_that_never_ends_is_invalid() -> None:
    result = check(running().ended(1, by=12))
    assert result.verdict is Verdict.INVALID
    assert reasons(result) == ["pool pool-1 never ended"]


def test_a_pool_that_ends_too_late_is_invalid() -> None:
    result = check(running().ended(1, by=12).at(8.5).exited())
    assert result.verdict is Verdict.INVALID
    assert reasons(result) == ["pool pool-1 took 6.500 s to end, 6 s are allowed"]


def test_a_pool_that_ends_with_an_error_or_by_a_signal_is_invalid() -> None:
    for code in (1, -9):
        result = check(running().ended(1, by=12).exited(code=code))
        assert reasons(result) == [f"pool pool-1 ended with exit code {code}"]


def test_the_exit_of_another_pool_does_not_count() -> None:
    assert reasons(check(running().ended(1, by=12).exited(parent=99))) == ["pool pool-1 never ended"]


def test_a_task_begun_long_after_the_signal_is_invalid() -> None:
    result = check(running().ended(1, by=12).at(3.5).ran(2, by=13).exited())
    assert result.verdict is Verdict.INVALID
    assert result.counterexamples[0]["task"] == 2
    assert "began it 1.500 s after the signal" in reasons(result)[0]


def test_a_task_begun_within_the_margin_is_drained_like_the_others() -> None:
    result = check(running().ended(1, by=12).at(2.5).ran(2, by=13).exited())
    assert result.verdict is Verdict.VALID
    assert result.figures["drained"] == 2


def test_a_worker_that_outlives_its_pool_is_invalid() -> None:
    result = check(running().at(3).exited().at(4).ended(1, by=12))
    assert result.verdict is Verdict.INVALID
    assert "still ran it 1.000 s after the pool had ended" in reasons(result)[0]


def test_the_time_out_that_the_fault_names_takes_the_place_of_the_argument() -> None:
    def released(outcome: OperationType) -> HistoryBuilder:
        builder = HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12, graceful=0.5)
        return builder.at(2.6).ended(1, by=12, outcome=outcome).exited().ran(1, by=20, fence=2)

    assert check(released(INFO)).verdict is Verdict.VALID
    assert check(released(OK).at(9)).verdict is Verdict.VALID


def test_other_pools_and_killed_workers_are_not_concerned() -> None:
    builder = (
        HistoryBuilder()
        .at(1)
        .began(1, by=12)
        .began(2, by=13)
        .began(3, by=50)
        .killed(13)
        .at(2)
        .sigterm(12, 13)
    )
    result = check(builder.ended(1, by=12).exited().at(9).ran(4, by=50))
    assert result.verdict is Verdict.VALID
    assert result.figures["drained"] == 1


def test_each_of_two_pools_is_judged_by_its_own_exit() -> None:
    builder = running().ended(1, by=12).exited().at(10).began(2, by=30).sigterm(30, parent=2)
    result = check(builder.ended(2, by=30).exited(parent=2, code=1))
    assert result.figures["signals"] == 2
    assert len(result.counterexamples) == 1


def test_no_signal_and_a_signal_that_met_no_task_are_unknown() -> None:
    assert check(HistoryBuilder().began(1, by=12).exited()).verdict is Verdict.UNKNOWN
    idle = HistoryBuilder().ran(1, by=12).at(2).sigterm(12).exited()
    assert check(idle).verdict is Verdict.UNKNOWN
    assert shutdown(GRACEFUL, MARGIN, minimum_running=0)(idle.history).verdict is Verdict.VALID


def test_everything_that_happens_at_the_very_bound_is_still_in_time() -> None:
    assert check(running().ended(1, by=12).at(8).exited()).verdict is Verdict.VALID, "the end"
    begun = running().ended(1, by=12).at(3).began(2, by=13).ended(2, by=13).exited()
    assert check(begun).verdict is Verdict.VALID, "the beginning"
    assert check(running().at(3).ended(1, by=12).at(3).exited()).verdict is Verdict.VALID, "the final entries"
    let_go = running().at(6.9).ended(1, by=12, outcome=INFO).exited().ran(1, by=20, fence=2)
    assert check(let_go).figures["released"] == 1, "the release"


def test_a_run_that_ends_or_begins_elsewhere_at_the_moment_of_the_signal_counts() -> None:
    ended = HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12).at(2).ended(1, by=12).exited()
    assert check(ended).figures["drained"] == 1
    elsewhere = HistoryBuilder().at(1).began(1, by=12).at(2).sigterm(12).at(2).began(1, by=20, fence=2)
    assert check(elsewhere.at(7.2).exited()).figures["released"] == 1


def test_a_pool_that_never_ends_with_a_lost_task_is_reported_for_both() -> None:
    result = check(running())
    assert [(one["kind"], one.get("pool"), one.get("task")) for one in result.counterexamples] == [
        ("pool", "pool-1", None),
        ("dropped", None, 1),
    ]


def test_a_pool_without_a_name_is_called_by_its_pid() -> None:
    builder = HistoryBuilder().injected("sigterm", InjectionKind.STOP, pid=41, pids=[12])
    assert reasons(check(builder)) == ["pool 41 never ended"]


DRAINS = Promises(sigterm=SigtermPromise.DRAINS)
RELEASES = Promises(sigterm=SigtermPromise.RELEASES)


def both_signals(made: Promises, *, kept: float) -> HistoryBuilder:
    """A pool gets SIGTERM and ends its task after `kept` seconds; another one is late, with its task."""
    builder = HistoryBuilder().promised(made).at(1).began(1, by=12).at(2).sigterm(12, loss=Loss.SIGTERM)
    builder.at(2 + kept).ended(1, by=12, outcome=OK if kept < 1 else INFO).exited()
    builder.at(20).began(2, by=22).at(21).sigterm(22, parent=2, loss=Loss.SIGTERM_LATE)
    return builder.at(90).ended(2, by=22).exited(parent=2)


@pytest.mark.parametrize(
    ("made", "kept", "verdict"),
    [
        (DRAINS, 0.5, Verdict.VALID),
        (DRAINS, 1.5, Verdict.INVALID),
        (RELEASES, 0.5, Verdict.INVALID),
    ],
)
def test_a_pool_that_drains_is_asked_for_every_stop_without_a_task_that_outlives_it(
    made: Promises, kept: float, verdict: Verdict
) -> None:
    history = both_signals(made, kept=kept).history
    found = as_promised({"shutdown": shutdown(3.0, 1.0, minimum_running=2)(history)}, history)
    assert found["shutdown"].verdict is verdict
