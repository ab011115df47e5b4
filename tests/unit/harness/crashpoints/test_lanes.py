"""Lanes of a run that cannot be opened: every strike gets a row that says so."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.checkers.base import Verdict
from harness.crashpoints import run as run_module
from harness.crashpoints.lane import LaneSettings
from harness.crashpoints.listing import LifeDidNotEnd
from harness.crashpoints.lives import LIVES, Life
from harness.crashpoints.points import CrashKind, CrashRow, CrashStrike, Point
from harness.crashpoints.run import CrashpointsRun
from harness.crashpoints.striking import Striker, _wait_while, not_struck
from harness.errors import HarnessError, TargetFailed
from harness.progress import Quiet
from harness.wire import ArmedStrike, Blow, Command, Strike, WireClient

POINT = Point(life="plain", role="worker", service="redis", client="w", name="GET", occurrence=1)


def run_in(folder: Path, rows: Sequence[CrashRow] = ()) -> CrashpointsRun:
    unused: Any = None
    return CrashpointsRun(
        settings=LaneSettings(target_name="x", target=unused),
        environment=unused,
        folder=folder,
        jobs=1,
        deadline=time.monotonic() + 100.0,
        progress=Quiet(),
        on_row=lambda row: None,
        rows=[*rows],
    )


def strike_in_lanes_that_fail(folder: Path, rows: Sequence[CrashRow]) -> list[CrashRow]:
    return run_in(folder, rows).strike([CrashStrike(point=POINT, kind=kind) for kind in CrashKind])


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


def test_a_lane_in_which_a_life_cannot_be_listed_is_closed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    lane = SimpleNamespace(kinds=Counter, close=lambda: closed.append("lane"), database=0)

    def fail(*given: object, **named: object) -> None:
        raise HarnessError("A life without any strike did not end.")

    monkeypatch.setattr(CrashpointsRun, "_lane", lambda run: lane)
    monkeypatch.setattr(run_module, "points_of", fail)
    with pytest.raises(HarnessError, match="did not end"), run_in(tmp_path) as run:
        run.list_points([LIVES["plain"]])
    assert closed == ["lane"]


def test_a_life_that_does_not_end_without_a_strike_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    lane = SimpleNamespace(kinds=Counter, close=lambda: closed.append("lane"), database=0)

    def listed(lane: Any, life: Life, *, background: bool) -> list[Point]:
        if life.name == "emptied":
            raise LifeDidNotEnd("It did not end.")
        return [POINT]

    monkeypatch.setattr(CrashpointsRun, "_lane", lambda run: lane)
    monkeypatch.setattr(run_module, "points_of", listed)
    with run_in(tmp_path) as run:
        assert run.list_points([LIVES["emptied"], LIVES["plain"]]) == [POINT]
        assert (run.unlived, closed) == ({"emptied": "It did not end."}, ["lane"])
    with pytest.raises(LifeDidNotEnd), run_in(tmp_path / "other") as run:
        run.list_points([LIVES["emptied"]])


def test_a_strike_whose_lane_does_not_open_is_left_to_the_other_lanes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def open_second(run: CrashpointsRun) -> Any:
        opened.append(1)
        if len(opened) == 1:
            raise TargetFailed("The pool does not start. See its log.")
        return SimpleNamespace(kinds=Counter, close=lambda: None, database=0, can_kill_producer=False)

    def strike(striker: Any, crash: CrashStrike) -> CrashRow:
        return CrashRow(strike=crash, verdict=Verdict.VALID, outcome="once")

    monkeypatch.setattr(CrashpointsRun, "_lane", open_second)
    monkeypatch.setattr(Striker, "strike", strike)
    monkeypatch.setattr(Striker, "reserve", 0.0)
    reset = CrashStrike(point=POINT, kind=CrashKind.RESET)
    [row] = run_in(tmp_path).strike([reset])
    assert row.verdict is Verdict.VALID


def test_what_does_not_come_again_after_a_strike_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[CrashStrike] = []

    def strike(striker: Any, crash: CrashStrike) -> CrashRow:
        tried.append(crash)
        return not_struck(crash)

    lane = SimpleNamespace(kinds=Counter, close=lambda: None, database=0, can_kill_producer=True)
    monkeypatch.setattr(CrashpointsRun, "_lane", lambda run: lane)
    monkeypatch.setattr(Striker, "strike", strike)
    monkeypatch.setattr(Striker, "reserve", 0.0)
    first = CrashStrike(point=POINT, kind=CrashKind.RESET)
    repairs = [CrashStrike(point=replace(POINT, name="SET"), kind=kind, first=first) for kind in CrashKind]
    rows = run_in(tmp_path).strike(repairs)
    assert tried == repairs[:1]
    assert {(row.strike.first, row.verdict, row.outcome) for row in rows} == {
        (first, Verdict.NOT_ASKED, "not again")
    }
    assert len(rows) == len(repairs)


def test_a_strike_that_missed_its_command_is_made_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = CrashRow(
        strike=CrashStrike(point=POINT, kind=CrashKind.RESET), verdict=Verdict.VALID, outcome="once"
    )
    found = [replace(row, verdict=Verdict.UNKNOWN, outcome="not struck", struck=False), row]
    monkeypatch.setattr(CrashpointsRun, "_work", lambda run, waiting: run.rows.append(found.pop(0)))
    assert row in strike_in_lanes_that_fail(tmp_path, [])


def test_the_wait_for_a_life_ends_as_soon_as_the_strike_falls() -> None:
    armed, goes_on = ArmedStrike(Strike(blow=Blow.HOLD)), threading.Event()
    living = threading.Thread(target=goes_on.wait, daemon=True)
    living.start()
    armed.fell(Command(number=1, name="GET", client=WireClient(port=1, name="w")), lambda: None)
    # A client whose command is held until its time-out sends it again on another connection.
    _wait_while(living, armed, 1e6)
    assert living.is_alive()
    goes_on.set()
