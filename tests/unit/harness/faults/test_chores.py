"""Duties of an application as faults: they are called again and again, and one that does nothing is no fault."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.errors import GateError
from harness.faults.backup import BackUp, RestoreBackup
from harness.faults.base import Aim, Fault, FaultContext, PlannedFault
from harness.faults.chores import CleanUp, MigrateSchema, StartService

AIM: Any = None


class Duties:
    """A session with both duties; `removed` is what a clean-up removes, `pending` what a start finds."""

    def __init__(self, *, removed: int = 1, pending: int = 1) -> None:
        self.removed, self.pending = removed, pending
        self.ages: list[float] = []
        self.starts = 0

    def clean_up(self, age: float) -> int:
        self.ages.append(age)
        return self.removed

    def start_service(self) -> int:
        self.starts += 1
        return 0

    def migrate(self, *, previous: bool) -> int:
        return int(previous)

    def unfinished(self) -> int:
        return self.pending


def inject(fault: Fault, session: object) -> None:
    nothing: Any = None
    context = FaultContext(gates=nothing, pools=nothing, session=cast("Any", session))
    planned = PlannedFault(number=1, fault=fault, gate="g", moment=0.0, draw=0.0)
    fault.inject(context, planned, cast("Aim", AIM))


def test_both_are_called_at_least_once_in_the_time_of_the_fault() -> None:
    session = Duties()
    inject(CleanUp(at=0.1, age=0.5, seconds=0.2), session)
    inject(StartService(at=0.1, seconds=0.2), session)
    assert set(session.ages) == {0.5}
    assert session.starts > 0
    inject(MigrateSchema(at=0.1, previous=True), session)


@pytest.mark.parametrize(
    ("fault", "session", "why"),
    [
        (CleanUp(at=0.1, seconds=0.01), Duties(removed=0), "no task was old enough"),
        (StartService(at=0.1, seconds=0.01), Duties(pending=0), "no task was pending at any start"),
        (MigrateSchema(at=0.1), Duties(), "the schema had that revision already"),
        (MigrateSchema(at=0.1), object(), "Give its session a method `migrate`"),
        (CleanUp(at=0.1, seconds=0.01), object(), "Give its session a method `clean_up`"),
        (StartService(at=0.1, seconds=0.01), object(), "Give its session a method `start_service`"),
        (BackUp(at=0.1), object(), "Give its session a method `stored`"),
        (RestoreBackup(at=0.1), object(), "Give its session a method `stored`"),
    ],
)
def test_a_duty_that_hits_nothing_is_no_fault(fault: Fault, session: object, why: str) -> None:
    with pytest.raises(GateError, match=why):
        inject(fault, session)
