"""Backups that are whole, and what a restoration excuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checkers import backups, beyond_backups, budget_per_restoration, delivery
from harness.checkers.base import Verdict
from harness.history import History, InjectionKind
from harness.history.promises import Loss
from tests.support.histories import HistoryBuilder

WHOLE = HistoryBuilder().logged(1, ("queued", 0, 0), ("running", 3, 0)).recorded(1, status="running", fence=3)


def backed_up(held: HistoryBuilder, *, loss: Loss | None = None, **found: Any) -> HistoryBuilder:
    """Task 1 is acknowledged, fault 1 takes a backup that holds this, and task 2 is acknowledged meanwhile."""
    taken: dict[str, Any] = {} if loss is None else {"loss": loss}
    built = HistoryBuilder().enqueued(1).injected("back-up", InjectionKind.DATA_LOSS, **taken)
    for op in held.operations:
        built.operations.append(
            replace(op, f="copy", value={"of": op.f, "fault": 1, **op.value}, time=built.now)
        )
    built.enqueued(2)
    built.op("nemesis", built.operations[0].type, "back-up", fault=1, phase="heal", **found)
    return built


def test_a_backup_with_running_tasks_is_whole() -> None:
    found = backups()(backed_up(WHOLE).history)
    assert found.verdict is Verdict.VALID
    assert (found.figure("backups"), found.figure("records")) == (1, 1)


@pytest.mark.parametrize(
    ("held", "kinds"),
    [
        (HistoryBuilder().logged(1, ("queued", 0, 0), ("complete", 3, 0)).recorded(1, fence=3), {"illegal"}),
        (HistoryBuilder().logged(1, ("queued", 0, 0)).recorded(1, status="running", fence=3), {"record"}),
        (HistoryBuilder().logged(1, ("queued", 0, 0)).recorded(2), {"record", "missing"}),
        (HistoryBuilder().recorded(1), {"record"}),
        (
            HistoryBuilder().recorded(2).logged(2, ("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1)),
            {"missing"},
        ),
    ],
)
def test_a_backup_that_is_not_whole_is_invalid(held: HistoryBuilder, kinds: set[str]) -> None:
    found = backups()(backed_up(held).history)
    assert found.verdict is Verdict.INVALID
    assert {example["kind"] for example in found.counterexamples} == kinds


def test_a_backup_that_holds_nothing_lacks_what_was_acknowledged() -> None:
    found = backups()(backed_up(HistoryBuilder(), copied=0).history)
    assert found.verdict is Verdict.INVALID
    assert [(example["kind"], example["task"]) for example in found.counterexamples] == [("missing", 1)]


def test_without_a_backup_nothing_is_decided() -> None:
    assert backups()(HistoryBuilder().enqueued(1).history).verdict is Verdict.UNKNOWN


def test_only_what_was_recorded_after_the_backup_may_be_lost() -> None:
    asked = beyond_backups(delivery())
    lost_young = backed_up(WHOLE, loss=Loss.DATABASE_RESTORED).ran(1, by=5).recorded(1)
    assert asked(lost_young.history).verdict is Verdict.VALID
    assert delivery()(lost_young.history).verdict is Verdict.INVALID
    assert asked(backed_up(WHOLE).ran(1, by=5).recorded(1).history).verdict is Verdict.INVALID
    lost_old = backed_up(WHOLE, loss=Loss.DATABASE_RESTORED).enqueued(4).ran(2, 4, by=5).recorded(2, 4)
    assert asked(lost_old.history).verdict is Verdict.INVALID
    both = HistoryBuilder.of(WHOLE).recorded(2, status="queued")
    lost_held = backed_up(both, loss=Loss.DATABASE_RESTORED).ran(1, by=5).recorded(1)
    assert asked(lost_held.history).verdict is Verdict.INVALID, "the backup has task 2"


def test_what_ran_after_the_backup_may_run_again() -> None:
    built = backed_up(WHOLE, loss=Loss.DATABASE_RESTORED)
    assert budget_per_restoration(built.history) == 0
    assert budget_per_restoration(HistoryBuilder.of(built).ran(1, by=5).history) == 0
    during = HistoryBuilder().began(1, by=5)
    during.operations += [replace(op, time=op.time + during.now) for op in built.operations]
    during.now += built.now
    assert budget_per_restoration(during.ended(1, by=5).history) == 1
    assert budget_per_restoration(History(())) == 0
