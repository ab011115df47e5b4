"""A task whose workers die of it is a dead letter in the end, and no task beside it is."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers import poison
from harness.checkers.asked import as_promised
from harness.checkers.base import Verdict
from harness.history import History, InjectionKind
from harness.history.promises import Promises
from tests.support.histories import INFO, HistoryBuilder


def struck(times: int, *, promised: int | None = 1, **end: Any) -> HistoryBuilder:
    """Task 1 kills its worker so often, beside task 2; the system promises to bury a task after `promised` crashes."""
    built = HistoryBuilder().op("runner", INFO, "promises", **Promises(most_crashes=promised).to_value())
    built.enqueued(1, 2).ran(2, by=99)
    for worker in range(times):
        built.began(1, by=worker, fence=worker)
        built.injected("poison-task", InjectionKind.KILL, pids=[worker], task=1)
    return built.recorded(1, **end).recorded(2)


def test_a_dead_letter_beside_a_healthy_neighbour_is_valid() -> None:
    found = poison()(struck(2, status="error").history)
    assert found.verdict is Verdict.VALID
    assert (found.figure("buried"), found.figure("crashes"), found.figure("deliveries")) == (1, 2, 2)


@pytest.mark.parametrize(
    ("built", "kinds"),
    [
        (struck(4, status="complete"), ["spared"]),
        (struck(5, status="error"), ["delivered"]),
        (struck(2, status="error").recorded(3, status="error"), ["neighbour"]),
        (struck(2, status="error").recorded(3, status="canceled"), ["neighbour"]),
        (struck(4, status="error").ran(1, by=50, fence=50), ["spared", "delivered"]),
    ],
)
def test_a_spared_poison_a_buried_neighbour_and_too_many_deliveries_are_invalid(
    built: HistoryBuilder, kinds: list[str]
) -> None:
    found = poison()(built.history)
    assert found.verdict is Verdict.INVALID
    assert [example["kind"] for example in found.counterexamples] == kinds


@pytest.mark.parametrize(
    "built", [HistoryBuilder().enqueued(1).ran(1, by=1).recorded(1), struck(3, status="complete")]
)
def test_without_enough_strikes_nothing_is_decided(built: HistoryBuilder) -> None:
    assert poison()(built.history).verdict is Verdict.UNKNOWN


def test_a_system_without_the_promise_is_not_asked() -> None:
    history = struck(9, promised=None, status="complete").history
    judged = as_promised({"poison": poison()(history)}, history)
    assert judged["poison"].verdict is Verdict.NOT_ASKED


def test_without_any_record_nothing_is_decided() -> None:
    built = struck(9, status="complete")
    history = History.of(op for op in built.operations if op.f not in ("record", "promises"))
    assert poison()(history).verdict is Verdict.UNKNOWN
