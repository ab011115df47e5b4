"""What is left of tasks that ended, in a system that may deliver a task again without a fault: no breach."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers import nothing_left, witnesses
from harness.checkers.base import Verdict
from harness.history.promises import DeliveryMode, Loss, Promises
from tests.support.histories import HistoryBuilder

MADE: dict[str, Any] = {"survives": frozenset(Loss), "records": True, "queue": True}
AGAIN = Promises(**MADE)
ONCE = Promises(**MADE, duplicates=True)
AT_MOST_ONCE = Promises(**MADE, delivery=DeliveryMode.AT_MOST_ONCE)


def left(made: Promises | None, *, status: str = "complete", **queue: Any) -> tuple[Verdict, Verdict]:
    """The verdicts about a queue that still holds task 2."""
    builder = HistoryBuilder().enqueued(1, 2).ran(1, 2, by=12).recorded(1).recorded(2, status=status)
    if made is not None:
        builder.promised(made)
    history = builder.drained().queue(ready=1, **queue).history
    return nothing_left()(history).verdict, witnesses()(history).verdict


@pytest.mark.parametrize("queue", [{"held": ["a2"], "known": None}, {"known": 1}, {"known": None}])
def test_a_second_delivery_of_a_task_that_ended_may_be_left(queue: dict[str, Any]) -> None:
    assert left(AGAIN, **queue) == (Verdict.VALID, Verdict.VALID)


@pytest.mark.parametrize("made", [None, ONCE, AT_MOST_ONCE])
def test_a_system_that_delivers_once_leaves_none(made: Promises | None) -> None:
    assert left(made, held=["a2"], known=1) == (Verdict.INVALID, Verdict.INVALID)


def test_a_task_that_did_not_end_is_left_in_any_system() -> None:
    assert left(AGAIN, status="running", held=["a2"], known=1)[0] is Verdict.INVALID
    assert left(AGAIN, status="running", held=[], known=0)[1] is Verdict.INVALID


def test_what_is_in_no_state_of_the_queue_is_a_breach_in_any_system() -> None:
    assert left(AGAIN, known=3)[0] is Verdict.INVALID
    assert left(AGAIN, known=1, orphans=["lock"])[0] is Verdict.INVALID
