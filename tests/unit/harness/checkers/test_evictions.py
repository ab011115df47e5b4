"""evictions: how many tasks an eviction took from the queue, and that each came back or ended."""

from __future__ import annotations

from typing import Any

from harness.checkers.base import Verdict
from harness.checkers.evictions import evictions, recorded_evictions
from harness.errors import TargetFailed
from harness.faults.lost_tasks import LostTasks
from harness.history import InjectionKind
from tests.support.histories import INFO, HistoryBuilder


def evicted(builder: HistoryBuilder, **found: Any) -> HistoryBuilder:
    """The heal of the latest fault."""
    value = {"fault": builder.faults, "phase": "heal", "kind": InjectionKind.DATA_LOSS, **found}
    return builder.op("nemesis", INFO, "evict-redis", **value)


def injected() -> HistoryBuilder:
    builder = HistoryBuilder().enqueued(1, 2, 3).began(1, by=12).began(3, by=12)
    return builder.injected("evict-redis", InjectionKind.DATA_LOSS, pids=[])


def test_tasks_that_ran_again_and_those_that_ended_are_told_apart() -> None:
    builder = evicted(injected(), evicted_keys=5, tasks_before=3, lost_tasks=["a1", "a2"])
    history = builder.ran(2, by=12).ended(1, by=12).recorded(1, 2).history
    result = evictions()(history)
    assert result.verdict is Verdict.VALID
    assert result.figures == {"keys": 5, "before": 3, "gone": 2, "again": 1, "ended": 1}
    assert result.summary == (
        "5 keys evicted in 1 fault: the queue had 3 tasks before and lost 2 (1 dispatched again, "
        "1 ended in the run that they had, 0 neither)"
    )


def test_a_task_that_neither_ran_again_nor_ended_is_not_decided_here() -> None:
    history = evicted(injected(), evicted_keys=5, tasks_before=3, lost_tasks=["a2"]).history
    result = evictions()(history)
    assert result.verdict is Verdict.UNKNOWN
    assert [one["activity"] for one in result.counterexamples] == ["a2"]


def test_a_target_that_cannot_say_it_has_the_keys_alone() -> None:
    result = evictions()(evicted(injected(), evicted_keys=1).history)
    assert result.verdict is Verdict.VALID
    assert result.summary == "1 key evicted in 1 fault; the target does not say which tasks its queue has"


def test_only_a_history_with_an_eviction_is_asked() -> None:
    assert recorded_evictions(injected().history) == {}
    assert list(recorded_evictions(evicted(injected(), evicted_keys=1).history)) == ["evictions"]
    assert evictions()(injected().history).verdict is Verdict.UNKNOWN


def test_a_task_is_lost_if_the_queue_had_it_and_has_it_no_more() -> None:
    answers: list[dict[str, bool] | None] = [
        {"had": True, "new": False},
        {"had": False, "new": True, "later": False},
        None,
        {"new": False, "later": False},
    ]

    def ask() -> dict[str, bool]:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if found is None:
            raise TargetFailed("Redis does not answer.")
        return found

    tasks = LostTasks(ask)
    while len(answers) > 1:
        tasks.watch(0.01)
    tasks.watch(0.01)
    assert tasks.found() == {"tasks_before": 1, "lost_tasks": ["had", "new"]}
