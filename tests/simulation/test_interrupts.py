"""A signal ends a simulation, and is no exception of the code under test."""

from __future__ import annotations

import signal
from typing import NoReturn

import pytest

from harness.command_line import Terminated, sigterm_raises
from harness.simulation.interrupts import interrupts_between_events
from harness.simulation.scheduler import Scheduler
from harness.simulation.simulation import simulate


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_code_that_catches_everything_does_not_catch_it(number: int, error: type[BaseException]) -> None:
    scheduler = Scheduler(1)
    process = scheduler.new_process("worker", 0)
    reached = []

    def work() -> None:
        try:
            reached.append("before")
            signal.raise_signal(number)
            reached.append("after")
            scheduler.pause(1.0)
            reached.append("a second later")
        except Exception:
            reached.append("caught")

    scheduler.spawn(process, work)
    with sigterm_raises(), pytest.raises(error), interrupts_between_events(scheduler):
        scheduler.run(10**10)
    scheduler.unwind_all([process])
    assert reached == ["before", "after"]
    assert scheduler.escaped == []


def test_a_second_signal_ends_an_event_without_an_end() -> None:
    scheduler = Scheduler(1)

    def endless() -> NoReturn:
        while True:
            signal.raise_signal(signal.SIGINT)

    scheduler.soon(None, endless)
    with pytest.raises(KeyboardInterrupt), interrupts_between_events(scheduler):
        scheduler.run(1)


def test_a_signal_while_a_run_is_judged_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(
        "harness.simulation.simulation.collect_evidence", lambda _: signal.raise_signal(signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        simulate(1)
    assert signal.getsignal(signal.SIGINT) is before
