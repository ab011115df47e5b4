"""The patience of a drain counts the time without any change that the machine gave to the system under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from harness.run.patience import Patience


@dataclass
class Clock:
    """A clock that stands, and the seconds that the machine has taken away."""

    now: float = 100.0
    lost: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("harness.run.patience.time", clock)
    return clock


def patience_on(clock: Clock, *, longest_work: float = 0.0) -> Patience:
    machine: Any = clock
    patience = Patience(5.0, machine)
    patience.begin(longest_work=longest_work)
    patience.look("first")
    return patience


def is_over(patience: Patience) -> bool:
    return patience.is_over


def test_it_is_over_when_nothing_has_changed_for_its_seconds(clock: Clock) -> None:
    patience = patience_on(clock)
    clock.now += 5.0
    patience.look("first")
    assert not is_over(patience)
    clock.now += 0.1
    patience.look("first")
    assert is_over(patience)
    assert patience.quiet == pytest.approx(5.1)


def test_any_change_begins_it_again(clock: Clock) -> None:
    patience = patience_on(clock)
    clock.now += 4.9
    patience.look("second")
    clock.now += 4.9
    assert not is_over(patience)
    assert patience.quiet == pytest.approx(4.9)


def test_time_that_the_machine_took_away_does_not_count(clock: Clock) -> None:
    patience = patience_on(clock)
    clock.now, clock.lost = clock.now + 12.0, clock.lost + 8.0
    assert not is_over(patience)
    clock.now += 1.1
    assert is_over(patience)


def test_time_that_was_taken_away_before_the_last_change_is_not_subtracted(clock: Clock) -> None:
    clock.lost = 50.0
    patience = patience_on(clock)
    clock.now += 5.1
    assert is_over(patience)


def test_a_machine_that_gives_nothing_is_not_waited_for_without_end(clock: Clock) -> None:
    patience = patience_on(clock)
    clock.now, clock.lost = clock.now + 19.9, clock.lost + 19.9
    assert not is_over(patience)
    clock.now, clock.lost = clock.now + 0.2, clock.lost + 0.2
    assert is_over(patience)


def test_a_handler_that_works_for_long_shows_no_change_meanwhile(clock: Clock) -> None:
    patience = patience_on(clock, longest_work=60.0)
    clock.now += 64.9
    assert not is_over(patience)
    clock.now += 0.2
    assert is_over(patience)
