"""The steady state before the faults comes back after them; a slow machine and a backlog are no breach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.checkers import steady_state
from harness.checkers.asked import as_promised
from harness.checkers.base import Verdict
from harness.history.promises import Promises
from tests.support.histories import INFO, OK, HistoryBuilder

HEALED = 12.0
"""The fault is active from 10 s to here."""


def served(*, before: float = 0.1, after: float = 0.1, tasks: int = 20, apart: float = 0.5) -> HistoryBuilder:
    """Tasks every half second for 10 s and again after the heal, each begun so many seconds after it was due.

    One worker works off those after the heal, every `apart` seconds at the most.
    """
    built = HistoryBuilder()
    for number in range(1, tasks + 1):
        built.at(number * 0.5 - 0.5).enqueued(number).at(number * 0.5 - 0.5 + before).ran(number, by=11)
    built.at(10.0).injected("stall-redis").at(HEALED)
    built.op("nemesis", INFO, "stall-redis", fault=1, phase="heal")
    for index in range(tasks):
        due = HEALED + 0.1 + index * 0.5
        built.at(due).enqueued(100 + index).at(HEALED + 0.1 + after + index * apart).ran(100 + index, by=12)
    return built


def verdict_of(built: HistoryBuilder) -> Verdict:
    return steady_state()(built.history).verdict


def test_a_system_that_serves_as_before_is_valid_with_its_figures() -> None:
    found = steady_state()(served().history)
    assert found.verdict is Verdict.VALID
    assert found.summary == (
        "before/during/after faults 2.0/0.0/2.1 tasks a second, 100%/-/100% started in time"
    )
    assert found.figure("pick_up_after_p99") == pytest.approx(0.1, abs=0.01)


def test_a_system_that_is_slower_than_before_is_invalid_and_names_tasks() -> None:
    found = steady_state()(served(after=5.0, apart=1.0).history)
    assert found.verdict is Verdict.INVALID
    assert found.counterexamples[0]["kind"] == "late"
    assert found.counterexamples[0]["task"] == 100


def test_tasks_that_never_start_are_late() -> None:
    stopped = served()
    stopped.operations = [op for op in stopped.operations if op.f != "run" or op.value["task"] < 110]
    assert verdict_of(stopped) is Verdict.INVALID


def test_a_backlog_that_is_worked_off_at_full_speed_is_no_breach() -> None:
    assert verdict_of(served(after=5.0, apart=0.2)) is Verdict.VALID


def test_a_system_that_was_as_slow_before_is_only_compared_with_itself() -> None:
    assert verdict_of(served(before=5.0, after=5.0, apart=1.0)) is Verdict.VALID


def test_late_tasks_that_the_machine_explains_are_not_judged() -> None:
    slow = served(after=2.5, apart=0.6)
    assert verdict_of(slow) is Verdict.INVALID
    for at in range(0, 60):
        slow.at(at * 0.5).op("machine", INFO, "machine", load=9.0, spin=1.0 if at < 24 else 8.0, delay=0.0)
    found = steady_state()(slow.history)
    assert found.verdict is Verdict.UNKNOWN
    assert "too slow" in found.summary


@pytest.mark.parametrize(
    "built",
    [served(tasks=9), served().op("runner", INFO, "load"), HistoryBuilder().enqueued(1).ran(1, by=11)],
    ids=["few tasks", "a load of its own", "no fault"],
)
def test_what_cannot_be_compared_is_not_asked(built: HistoryBuilder) -> None:
    assert verdict_of(built) is Verdict.NOT_ASKED


def test_without_a_handler_that_returned_before_the_faults_there_is_no_rate_to_keep() -> None:
    """The tasks before the faults take longer than the time until the first one, and none starts after them."""
    built = served()
    built.operations = [
        replace(op, time=op.time + round(11e9)) if op.f == "run" and op.type is OK else op
        for op in built.operations
        if op.f != "run" or op.value["task"] < 100
    ]
    found = steady_state()(built.history)
    assert found.verdict is Verdict.NOT_ASKED
    assert "no handler returned before the faults" in found.summary


def test_the_promised_time_counts_and_a_system_without_it_is_not_asked() -> None:
    late = served(after=5.0, apart=0.55)
    for promised, verdict in ((30.0, Verdict.VALID), (1.0, Verdict.INVALID), (None, Verdict.NOT_ASKED)):
        made = Promises(steady_within=promised)
        history = HistoryBuilder.of(late).op("runner", INFO, "promises", **made.to_value()).history
        judged = as_promised({"steady": steady_state()(history)}, history)
        assert judged["steady"].verdict is verdict, promised
