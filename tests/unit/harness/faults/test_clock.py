"""A worker whose wall clock jumps: on a small pool of real processes, and in this process."""

from __future__ import annotations

import datetime
import sys
import time
from dataclasses import replace
from datetime import UTC
from types import ModuleType
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.faults import clock
from harness.faults.clock import JumpClock
from harness.history.promises import Promises
from harness.kit.harness_worker.clock import shifted
from tests.unit.harness.faults.test_process import Field, field

__all__ = ["field"]

HOUR = datetime.timedelta(hours=1)
FAULT = JumpClock(at=0.0, seconds=0.2)


def test_the_clock_of_a_worker_jumps_and_is_right_afterwards(field: Field, eventually: Any) -> None:
    [worker] = field.pool.worker_pids()
    told = field.carry_out(FAULT).value
    assert (told["kind"], told["loss"], told["jump"]) == ("clock", "worker-clock-jumped", 3600.0)
    eventually(lambda: field.finished() == {worker}, deadline=20.0)


@pytest.mark.parametrize(
    ("offsets", "why"), [([], "was asked to set its clock, and did not"), ([0.0, 0.0, 0.0], "did not jump")]
)
def test_a_clock_that_does_not_jump_is_no_fault(
    field: Field, monkeypatch: pytest.MonkeyPatch, offsets: list[float], why: str
) -> None:
    monkeypatch.setattr(clock, "_offsets", lambda _: offsets)
    monkeypatch.setattr(clock, "_notes", lambda *_: field.folder / "exits.jsonl")
    field.gates.wait_for("task-1")
    field.context = replace(field.context, patience=0.2)
    field.promise(Promises())
    [missed] = field.inject(FAULT)
    assert why in missed


@pytest.mark.parametrize(
    ("offsets", "why"), [([3600.0, -3600.0], "still wrong"), ([3600.0, -3600.0, 3600.0], "3600 s")]
)
def test_a_clock_that_stays_wrong_is_seen(
    field: Field, monkeypatch: pytest.MonkeyPatch, offsets: list[float], why: str
) -> None:
    monkeypatch.setattr(clock, "_offsets", lambda _: offsets)
    monkeypatch.setattr(clock, "_notes", lambda *_: field.folder / "exits.jsonl")
    field.gates.wait_for("task-1")
    field.context = replace(field.context, patience=0.2)
    field.promise(Promises())
    with pytest.raises(HarnessError, match=why):
        field.inject(FAULT)


def test_every_module_sees_the_jump_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    holder: Any = ModuleType("holder")
    holder.own, holder.kind = time.time, datetime.datetime
    late: Any = ModuleType("late")
    monkeypatch.setitem(sys.modules, "holder", holder)
    right, noon = datetime.datetime.now(UTC), datetime.datetime(2026, 1, 1, 12, tzinfo=UTC)
    with shifted(3600.0):
        seen = [
            holder.kind.now(UTC),
            datetime.datetime.fromtimestamp(time.time(), UTC),
            datetime.datetime.fromtimestamp(holder.own(), UTC),
            datetime.datetime.fromtimestamp(time.time_ns() / 1e9, UTC),
            datetime.datetime.today().astimezone(UTC),
            datetime.datetime.utcnow().replace(tzinfo=UTC),
        ]
        assert isinstance(noon, datetime.datetime)
        assert issubclass(type(noon), datetime.datetime)
        assert datetime.datetime(2026, 1, 1, 12, tzinfo=UTC) == noon
        assert type(seen[0]) is type(noon)
        late.own, late.kind = time.time, datetime.datetime  # as a module that a handler imports only now
        monkeypatch.setitem(sys.modules, "late", late)
    assert all(HOUR <= one - right < HOUR + HOUR / 2 for one in seen)
    assert datetime.datetime.now(UTC) - right < HOUR / 2
    assert (holder.own, holder.kind) == (time.time, datetime.datetime) == (late.own, late.kind)
