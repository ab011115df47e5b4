"""Commands that are sent only after a strike are struck in their turn, while the strike before them is repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.crashpoints.names import CommandNames
from harness.crashpoints.points import CommandKind, CrashKind, CrashStrike, Point
from harness.crashpoints.repairs import Repairs
from harness.crashpoints.striking import Striker
from harness.wire import Command, WireClient

POINT = Point(life="plain", role="worker", service="redis", client="w", name="GET", occurrence=2)
KILLED = CrashStrike(point=POINT, kind=CrashKind.KILLED_BEFORE)
RELEASE = CommandKind("worker", "redis", "pool", "EVALSHA release.lua")
SECOND = CrashStrike(
    point=Point(**{**RELEASE._asdict(), "life": "plain", "occurrence": 1}), kind=CrashKind.RESET, first=KILLED
)


def test_what_only_strikes_bring_is_struck_after_the_one_that_brings_it_most_often() -> None:
    repairs = Repairs()
    rare = replace(KILLED, kind=CrashKind.RESET)
    repairs.note(rare, {RELEASE})
    for life in ("plain", "batch"):
        repairs.note(replace(KILLED, point=replace(POINT, life=life)), {RELEASE, POINT.kind})
    found = repairs.strikes({POINT.kind}, list(CrashKind))
    assert {one.point for one in found} == {SECOND.point}
    assert {one.first for one in found} == {KILLED}
    assert [one.kind for one in found] == [kind for kind in CrashKind if kind is not CrashKind.KILLED_LATE]


def test_what_second_and_late_strikes_bring_is_not_struck() -> None:
    repairs = Repairs()
    repairs.note(SECOND, {RELEASE})
    repairs.note(replace(KILLED, kind=CrashKind.KILLED_LATE), {RELEASE})
    assert repairs.strikes((), list(CrashKind)) == []


def test_a_strike_that_only_a_start_brings_is_made_in_that_life() -> None:
    repairs = Repairs()
    start = replace(KILLED, point=replace(POINT, life="pool-start"))
    for _ in range(3):
        repairs.note(start, {RELEASE})
    assert {one.first for one in repairs.strikes((), [CrashKind.RESET])} == {start}
    repairs.note(KILLED, {RELEASE})
    assert {one.first for one in repairs.strikes((), [CrashKind.RESET])} == {KILLED}


def test_a_schema_that_is_called_after_its_queue_has_one_name_in_all_lanes() -> None:
    first, second = (
        CommandNames(number=1),
        CommandNames(number=2, better={"EVALSHA 12ab": "EVALSHA step.lua"}),
    )
    shown = first.shown("postgres", "INSERT hx_lane_1.jobs + UPDATE hx_lane_1.log")
    assert shown == "INSERT hx_lane_*.jobs + UPDATE hx_lane_*.log"
    assert second.sent("postgres", shown) == "INSERT hx_lane_2.jobs + UPDATE hx_lane_2.log"
    assert second.sent("redis", second.shown("redis", "EVALSHA 12ab")) == "EVALSHA 12ab"
    # The wire of Redis has left the number out already.
    assert second.sent("redis", "GET {hx-lane-*}:job") == "GET {hx-lane-*}:job"


@pytest.mark.parametrize("comes", [True, False])
def test_a_repair_is_armed_before_the_first_strike_is_carried_out(
    comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    command = Command(number=1, name="GET", client=WireClient(port=1, name="w"))
    wire = SimpleNamespace(
        arm=lambda strike: done.append(("arm", strike.name)), disarm=lambda armed: done.append("disarm")
    )
    lane: Any = SimpleNamespace(
        wires={("worker", "redis"): wire},
        names=CommandNames(number=1),
        settings=SimpleNamespace(lease=1.0, patience=1.0),
        promises=SimpleNamespace(takes_over_after=None),
        start=lambda role: done.append(role),
        struck=lambda armed, within: command if comes else None,
    )
    striker = Striker(lane=lane)

    def carry_out(own: Striker, crash: CrashStrike, struck: Command, tasks: Sequence[object]) -> bool:
        done.append(crash.kind)
        return True

    monkeypatch.setattr(Striker, "_carry_out", carry_out)
    armed: Any = None
    assert striker._carry_out_both(SECOND, KILLED, armed, command) is comes
    assert done[:2] == [("arm", "EVALSHA release.lua"), KILLED.kind]
    assert {"producer", "worker"} < set(filter(lambda one: isinstance(one, str), done))
    assert (SECOND.kind in done) is comes
    assert done[-1] == "disarm"
