"""Which fault a request that was paid again is charged to, when several were active."""

from __future__ import annotations

from typing import Any

import pytest

from harness.history import InjectionKind
from harness.history.faults import injected_faults
from harness.history.runs import runs
from harness.llm.charging import Charging
from tests.support.histories import HistoryBuilder

SECOND = 1_000_000_000


def two_workers() -> HistoryBuilder:
    """Task 1 begins in worker 11, task 2 in worker 12, both at the second 1."""
    return HistoryBuilder().at(1).began(1, by=11).began(2, by=12)


def charged(builder: HistoryBuilder, activity: str | None, start: float, until: float) -> str | None:
    charging = Charging(injected_faults(builder.history), runs(builder.history))
    found = charging.fault(activity, round(start * SECOND), round(until * SECOND))
    return None if found is None else found.name


def test_the_kill_of_its_own_worker_is_the_cause_although_another_fault_came_later() -> None:
    both = two_workers().at(3).killed(11).at(4).injected("pause-worker", pids=[12], seconds=2)
    assert charged(both, "a1", 2, 6) == "kill-worker"
    assert charged(both, "a2", 2, 6) == "pause-worker"


def test_a_later_run_in_another_worker_is_not_charged_to_the_first_kill() -> None:
    again = two_workers().at(3).killed(11).at(4).began(1, by=13, fence=2)
    assert charged(again, "a1", 4.5, 6) is None
    assert charged(again, "a1", 2, 6) == "kill-worker"


@pytest.mark.parametrize("hit", [{}, {"pids": [99]}, {"pids": [12], "service": "redis"}])
def test_a_fault_of_a_server_concerns_all_workers(hit: dict[str, Any]) -> None:
    server = two_workers().at(3).injected("stall", InjectionKind.PAUSE, seconds=1, **hit)
    assert charged(server, "a1", 2, 5) == "stall"
    assert charged(server.at(3.5).killed(11), "a1", 2, 5) == "kill-worker"
    assert charged(server, "a2", 2, 5) == "stall"


def test_without_a_run_of_the_activity_the_last_fault_is_the_cause() -> None:
    both = two_workers().at(3).killed(11).at(4).killed(12, fault="kill-pool")
    assert charged(both, "other", 2, 6) == charged(both, None, 2, 6) == "kill-pool"
    assert charged(both, "other", 2, 3.5) == "kill-worker"
    assert charged(both, "a1", 5, 6) is None
