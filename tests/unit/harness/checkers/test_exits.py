from __future__ import annotations

import pytest

from harness.checkers import exits, standard
from harness.checkers.base import Verdict, check_safe
from harness.history.injection import InjectionKind
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


def test_a_pool_whose_parent_was_killed_owes_nothing() -> None:
    builder = HistoryBuilder().killed(1, 12, fault="kill-pool").exited(parent=1, code=-9).exited(parent=2)
    result = exits()(builder.history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"exits": 2, "killed": 1, "bad": 0}
    assert result.summary == "1 pools ended with code 0, 1 were killed"


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


def lost_reply(*survives: Loss) -> HistoryBuilder:
    """A run in which a reply is lost, on a system that survives the given losses."""
    promises = Promises(survives=frozenset(survives))
    return (
        HistoryBuilder()
        .promised(promises)
        .injected("lose-reply", InjectionKind.DISCONNECT, loss=Loss.REPLY_LOST)
    )


def test_a_pool_that_ends_after_a_loss_that_it_need_not_survive_is_not_asked() -> None:
    result = exits()(lost_reply(Loss.WORKER_KILLED).exited(code=1).exited(parent=2).history)
    assert result.verdict is Verdict.NOT_ASKED
    assert result.summary == (
        "the system does not promise that a pool survives reply-lost; pool-1 (pid 1) ended with code 1"
    )


def test_a_loss_excuses_no_pool_that_must_survive_it_or_ended_before_it_or_was_stopped() -> None:
    survived = lost_reply(Loss.REPLY_LOST).exited(code=1)
    earlier = HistoryBuilder().promised(Promises()).exited(code=1)
    earlier.injected("lose-reply", InjectionKind.DISCONNECT, loss=Loss.REPLY_LOST)
    by_the_run = lost_reply().op("pool-1", INFO, "stop", pid=1, seconds=10).exited(code=1)
    by_a_fault = lost_reply().sigterm(12, parent=1).exited(code=1)
    for history in (survived, earlier, by_the_run, by_a_fault):
        assert exits()(history.history).verdict is Verdict.INVALID
