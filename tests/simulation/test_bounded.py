"""Every fault at every call of a life: nothing is left out, each strikes where it should, and a defect is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import main
from harness.history.figures import NANOSECONDS
from harness.simulation import simulate
from harness.simulation.bounded import work
from harness.simulation.call_faults import CallPoint
from harness.simulation.explain import events
from harness.simulation.lives import LIVES, READS, strikes
from harness.simulation.plan import FaultKind, Plan, SimulatedFault
from tests.planted.defects import DEFECTS

PLAIN = LIVES["plain"]
# What strikes Redis only; its contents, too, if it has changed since the last time.
ON_REDIS = {FaultKind.REDIS_AWAY, FaultKind.LATE_REQUEST}


@pytest.mark.parametrize("life", LIVES)
def test_a_life_without_faults_is_valid_and_reaches_every_server(life: str) -> None:
    outcome = simulate(LIVES[life])
    assert not outcome.findings
    calls = {name for point in outcome.points for name in point.calls}
    assert {"enqueue-commit", "enqueue", "start-commit", "step", "finish-commit"} <= calls


def test_every_side_of_every_call_has_its_faults() -> None:
    points = simulate(PLAIN).points
    found = list(strikes(points))
    assert {fault.point for fault in found} == set(range(len(points)))
    kinds = {(points[fault.point or 0].process.name, fault.after): set[FaultKind]() for fault in found}
    for fault in found:
        kinds[points[fault.point or 0].process.name, fault.after].add(fault.kind)
    servers = {FaultKind.REDIS_FORGETS, FaultKind.REDIS_FAILS_OVER}
    worker = {FaultKind.KILL_WORKER, FaultKind.STALL_WORKER}
    away = {FaultKind.REDIS_AWAY, FaultKind.POSTGRES_AWAY}
    lost = {FaultKind.LOSE_REQUEST, FaultKind.LATE_REQUEST}
    assert kinds["pool-0/0", True] == servers | worker | {FaultKind.LOSE_REPLY}
    assert kinds["pool-0/0", False] == away | worker | lost
    assert kinds["producer", False] == away | lost | {FaultKind.KILL_PRODUCER}
    assert kinds["pool-0", True] == servers | {FaultKind.KILL_PARENT, FaultKind.LOSE_REPLY}


@pytest.mark.parametrize("point", [0, 9, 20, 30])
def test_a_fault_strikes_at_its_point_and_nothing_changes_before(point: int) -> None:
    plain = simulate(PLAIN, trace=True)
    moment = plain.points[point].at
    for fault in (one for one in strikes(plain.points) if one.point == point):
        struck = simulate(replace(PLAIN, faults=(fault,)), trace=True)
        assert struck.injected == 1
        assert [e for e in events(struck) if e[0] < moment] == [e for e in events(plain) if e[0] < moment]
        assert [at for at, _, text in events(struck) if text.startswith("FAULT")] == [moment]


def test_a_run_lasts_until_a_late_request_has_arrived_and_has_been_answered() -> None:
    """Without that, an enqueue that arrives after the end of its task is left in the queue."""
    early = simulate(PLAIN, trace=True)
    [enqueue] = [n for n, point in enumerate(early.points) if "enqueue" in point.calls]
    late = SimulatedFault(kind=FaultKind.LATE_REQUEST, at=0.0, seconds=1.0, point=enqueue - 1)
    forgets = SimulatedFault(kind=FaultKind.REDIS_FORGETS, at=0.0, after=True, point=3)
    outcome = simulate(replace(PLAIN, faults=(forgets, late)), trace=True)
    assert not outcome.findings
    assert outcome.seconds > early.points[enqueue - 1].at / NANOSECONDS + late.seconds


def test_a_life_with_every_single_fault_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--bounded", "plain", "--faults", "1", "--report", str(tmp_path)]) == 0
    expected = len(list(strikes(simulate(PLAIN).points)))
    assert f"plain:    {expected} with 1 fault" in capsys.readouterr().out
    assert json.loads((tmp_path / "bounded.json").read_text())["runs"] == {"plain": {"1": expected}}


def test_of_faults_that_are_equal_one_strikes() -> None:
    points = simulate(PLAIN).points
    found = [(points[fault.point or 0], fault) for fault in strikes(points)]
    assert not [fault for point, fault in found if point.request == "transaction" and fault.kind in ON_REDIS]
    assert all(point.request == "transaction" for point, one in found if one.kind is FaultKind.POSTGRES_AWAY)
    after_reads = {one.kind for point, one in found if point.after and point.request in READS}
    assert after_reads == {FaultKind.STALL_WORKER, FaultKind.REDIS_FORGETS, FaultKind.REDIS_FAILS_OVER}
    served = sum(point.after and point.request != "transaction" for point in points)
    assert sum(fault.kind is FaultKind.REDIS_FORGETS for _, fault in found) == served
    # After a transaction Redis has what it had before, so it loses that once among the later points, too.
    first = next(n for n, point in enumerate(points) if point.after and point.request == "transaction")
    assert sum(one.kind is FaultKind.REDIS_FORGETS for one in strikes(points, since=first)) == 1 + sum(
        point.after and point.request != "transaction" for point in points[first:]
    )


def test_a_defect_that_takes_two_faults_is_found_by_a_pair_and_by_neither_fault_alone() -> None:
    points = simulate(PLAIN).points
    end, enqueued = (
        next(n for n, point in enumerate(points) if name in point.calls)
        for name in ("end-rebuild", "enqueue")
    )
    late = next(f for f in strikes(points) if f.point == end - 1 and f.kind is FaultKind.LATE_REQUEST)
    forgets = SimulatedFault(kind=FaultKind.REDIS_FORGETS, at=0.0, after=True, point=enqueued + 1)
    assert forgets in list(strikes(simulate(replace(PLAIN, faults=(late,))).points, since=end))
    with DEFECTS["late-end-of-rebuild"].planted():
        for faults, found in (((late,), 0), ((forgets,), 0), ((late, forgets), 1)):
            outcome = simulate(replace(PLAIN, faults=faults))
            assert [one.summary.partition(" end of ")[2] for one in outcome.findings] == (
                ["another rebuild changed the queue"] * found
            )


def test_a_cancel_that_two_lost_requests_undo_is_found_by_a_pair_and_by_neither_fault_alone() -> None:
    """The work of the life is long enough for a cancel that never arrives to show, also after the second fault."""
    life = LIVES["cancel"]

    def lost(points: Sequence[CallPoint], since: int) -> SimulatedFault:
        found = strikes(points, since=since)
        return next(
            one
            for one in found
            if one.kind is FaultKind.LOSE_REQUEST and points[one.point or 0].request == "request-cancel"
        )

    first = lost(simulate(life).points, 0)
    points = simulate(replace(life, faults=(*life.faults, first))).points
    second = lost(points, (first.point or 0) + 1)
    assert [points[one.point or 0].process.name for one in (first, second)] == ["producer", "pool-0"]
    with DEFECTS["withdrawal-dropped-on-error"].planted():
        for faults, found in (((first,), []), ((second,), []), ((first, second), ["cancels"])):
            outcome = simulate(replace(life, faults=(*life.faults, *faults)))
            assert [one.checker for one in outcome.findings] == found


def test_a_finding_is_printed_with_a_schedule_that_has_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    with DEFECTS["no-fence-on-finish"].planted():
        work(0, 1, 1, ["plain"])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        found = next(line for line in lines if "plan" in line)
        again = simulate(Plan.from_json(found["plan"]))
    assert any(one.startswith("results: ") for one in found["found"])
    assert "results" in {finding.checker for finding in again.findings}
    assert not simulate(Plan.from_json(found["plan"])).findings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bounded", "death"], "There is no life 'death'. Choose from plain, retry,"),
        (["--seed", "1", "--faults", "1"], "--faults is for --bounded. Leave it out."),
        (["--bounded", "plain", "--first", "1"], "--first is for --seeds. Leave it out."),
        (["--bounded", "plain", "--explain"], "--explain, --history and --html are for one run."),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 64
    assert words in capsys.readouterr().err
