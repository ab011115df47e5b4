"""Lanes of a run that cannot be opened: every strike gets a row that says so."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.base import Verdict
from harness.crashpoints.points import CrashKind, CrashRow, CrashStrike, Point
from harness.crashpoints.run import CrashpointsRun
from harness.errors import TargetFailed
from harness.progress import Quiet

POINT = Point(life="plain", role="worker", service="redis", client="w", name="GET", occurrence=1)


def strike_in_lanes_that_fail(folder: Path, rows: list[CrashRow]) -> list[CrashRow]:
    unused: Any = None
    run = CrashpointsRun(
        settings=unused,
        environment=unused,
        folder=folder,
        jobs=1,
        deadline=time.monotonic() + 100.0,
        progress=Quiet(),
        on_row=lambda row: None,
        rows=rows,
    )
    return run.strike([CrashStrike(point=POINT, kind=kind) for kind in CrashKind])


@pytest.fixture(autouse=True)
def no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: CrashpointsRun) -> None:
        raise TargetFailed("The pool does not start. See its log.")

    monkeypatch.setattr(CrashpointsRun, "_lane", fail)


def test_without_any_row_the_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(TargetFailed, match="does not start"):
        strike_in_lanes_that_fail(tmp_path, [])


def test_strikes_without_a_lane_are_unknown_because_of_the_error_and_not_of_the_time(tmp_path: Path) -> None:
    first = CrashStrike(point=POINT, kind=next(iter(CrashKind)))
    done = CrashRow(strike=first, verdict=Verdict.VALID, outcome="once")
    rows = strike_in_lanes_that_fail(tmp_path, [done])
    assert [row.strike.kind for row in rows] == list(CrashKind)
    assert {row.why for row in rows[1:]} == {"The pool does not start. See its log."}
    assert {row.verdict for row in rows[1:]} == {Verdict.UNKNOWN}


def test_a_strike_that_missed_its_command_is_made_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = CrashRow(
        strike=CrashStrike(point=POINT, kind=CrashKind.RESET), verdict=Verdict.VALID, outcome="once"
    )
    found = [replace(row, verdict=Verdict.UNKNOWN, outcome="not struck", struck=False), row]
    monkeypatch.setattr(CrashpointsRun, "_work", lambda run, waiting: run.rows.append(found.pop(0)))
    assert row in strike_in_lanes_that_fail(tmp_path, [])
