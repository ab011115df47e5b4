from __future__ import annotations

import pytest

from harness.checkers import exits, shutdown, standard
from harness.checkers.base import Verdict, check_safe
from harness.history import InjectionKind
from harness.history.promises import Loss, Promises
from tests.support.histories import INFO, HistoryBuilder


def test_pools_that_ended_with_code_0_are_valid() -> None:
    result = exits()(HistoryBuilder().sigterm(12, parent=1).exited(parent=1).exited(parent=2).history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"exits": 2, "killed": 0, "bad": 0}


@pytest.mark.parametrize("code", [1, -9, -15])
def test_a_pool_that_ended_by_itself_with_another_code_is_invalid_and_named(code: int) -> None:
    result = exits()(HistoryBuilder().exited(parent=1, code=code).exited(parent=2).history)
    assert result.verdict is Verdict.INVALID
    (found,) = result.counterexamples
    assert (found["pool"], found["pid"], found["code"]) == ("pool-1", 1, code)
    assert f"pool-1 (pid 1) ended with code {code}" in result.summary


def test_a_pool_that_was_stopped_must_still_exit_with_0() -> None:
    assert (
        exits()(HistoryBuilder().sigterm(12, parent=1).exited(parent=1, code=1).history).verdict
        is Verdict.INVALID
    )


def test_a_promised_code_is_as_good_as_0() -> None:
    promised = Promises(exit_codes=frozenset({0, 143})).to_value()
    builder = HistoryBuilder().op("runner", INFO, "promises", **promised)
    builder = builder.sigterm(12, parent=1).exited(parent=1, code=143)
    assert exits()(builder.history).verdict is Verdict.VALID
    assert shutdown(5.0, 1.0, minimum_running=0)(builder.history).verdict is Verdict.VALID
    result = exits()(builder.exited(parent=2, code=1).history)
    assert result.verdict is Verdict.INVALID
    assert result.summary.startswith("1 of 2 pools did not end with code 0 or 143; the first: pool-1 (pid 2)")


def test_a_pool_whose_parent_was_killed_owes_nothing() -> None:
    builder = HistoryBuilder().killed(1, 12, fault="kill-pool").exited(parent=1, code=-9).exited(parent=2)
    result = exits()(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"exits": 2, "killed": 1, "bad": 0}
    assert result.summary == "1 pool ended with code 0, 1 killed"


def test_a_killed_worker_excuses_no_end_of_its_pool() -> None:
    builder = HistoryBuilder().killed(12).exited(parent=1, code=1)
    assert exits()(builder.history).verdict is Verdict.INVALID


def test_without_a_pool_that_ended_by_itself_the_verdict_is_unknown() -> None:
    assert exits()(HistoryBuilder().killed(1).history).verdict is Verdict.UNKNOWN
    assert exits()(HistoryBuilder().killed(1).exited(parent=1, code=-9).history).verdict is Verdict.UNKNOWN


def test_an_exit_without_a_code_is_unknown_and_not_good() -> None:
    builder = HistoryBuilder().op("pool-1", INFO, "exit", pid=1)
    assert check_safe(exits(), builder.history).verdict is Verdict.UNKNOWN


def test_the_standard_checkers_ask_how_the_pools_ended() -> None:
    assert "exits" in standard()


def stopped(code: int, *exit_codes: int) -> HistoryBuilder:
    """A pool that the harness stopped at the end, of a system that promises these codes."""
    builder = HistoryBuilder().promised(Promises(exit_codes=frozenset(exit_codes)))
    return builder.op("pool-1", INFO, "stop", pid=1, seconds=20.0).exited(code=code)


@pytest.mark.parametrize("code", [0, 143, -15])
def test_each_promised_code_of_a_stopped_pool_is_accepted(code: int) -> None:
    assert exits()(stopped(code, 0, 143, -15).history).verdict is Verdict.VALID
    by_fault = HistoryBuilder().promised(Promises(exit_codes=frozenset({0, 143, -15})))
    by_fault.sigterm(12, parent=1).exited(parent=1, code=code)
    assert exits()(by_fault.history).verdict is Verdict.VALID
    assert shutdown(1.0, 1.0, minimum_running=0)(by_fault.history).verdict is Verdict.VALID


@pytest.mark.parametrize("code", [1, -9, 0])
def test_a_code_that_is_not_promised_is_a_breach(code: int) -> None:
    result = exits()(stopped(code, 143).history)
    assert (result.verdict, result.figures["bad"]) == (Verdict.INVALID, 1)
    assert "not end with code 143" in result.summary
    by_fault = HistoryBuilder().promised(Promises(exit_codes=frozenset({143})))
    by_fault.sigterm(12, parent=1).exited(parent=1, code=code)
    assert shutdown(1.0, 1.0, minimum_running=0)(by_fault.history).verdict is Verdict.INVALID


def test_the_promised_code_of_a_stop_excuses_no_pool_that_ended_by_itself() -> None:
    builder = HistoryBuilder().promised(Promises(exit_codes=frozenset({0, 143})))
    assert exits()(builder.exited(code=143).sigterm(12, parent=1).history).verdict is Verdict.INVALID


def lost_broker(*survives: Loss) -> HistoryBuilder:
    builder = HistoryBuilder().promised(Promises(survives=frozenset(survives)))
    return builder.injected("restart-redis", InjectionKind.DISCONNECT, loss=Loss.BROKER_RESTARTED)


def test_a_pool_that_a_loss_ends_is_judged_only_if_the_loss_is_survived() -> None:
    assert exits()(lost_broker(Loss.BROKER_RESTARTED).exited(code=1).history).verdict is Verdict.INVALID
    assert exits()(lost_broker().exited(code=1).history).verdict is Verdict.NOT_ASKED
    stopped_after = lost_broker().exited(code=1).op("pool-2", INFO, "stop", pid=2, seconds=20.0)
    assert exits()(stopped_after.exited(parent=2).history).verdict is Verdict.VALID
    bad_stop = lost_broker().exited(code=1).op("pool-2", INFO, "stop", pid=2, seconds=20.0)
    found = exits()(bad_stop.exited(parent=2, code=3).history)
    assert (found.verdict, [one["pid"] for one in found.counterexamples]) == (Verdict.INVALID, [2])
