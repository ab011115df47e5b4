"""What the simulation finds where there is something, how small it gets, and that a kept schedule finds it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.history import History
from harness.simulation import SimulationResult, simulate
from harness.simulation.explain import timeline
from harness.simulation.plan import FaultKind, Plan, PlannedTask, SimulatedFault
from harness.simulation.shrinker import Shrinker
from tests.planted.edits import applied
from tests.simulation.undone import UNDONE
from tests.support.planted_loss import plant

SCHEDULES = sorted((Path(__file__).parent / "schedules").glob("*.json"))
ENOUGH = 20  # seeds within which the planted defect shows
FIRST = 5  # of them; where the simulation draws differently, another one may have to be the first


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> SimulationResult:
    """A run that lost a task."""
    plant(monkeypatch)
    for seed in range(FIRST, FIRST + ENOUGH):
        outcome = simulate(seed)
        if any(finding.checker == "delivery" for finding in outcome.findings):
            return outcome
    raise AssertionError(f"{ENOUGH} seeds did not find the planted defect")


def test_a_planted_loss_is_found_by_several_checks(failing: SimulationResult) -> None:
    assert {"delivery", "liveness"} <= {finding.checker for finding in failing.findings}


def test_a_failing_schedule_shrinks_to_one_fault_and_one_task(failing: SimulationResult) -> None:
    small = Shrinker(failing).shrink()
    assert (len(small.plan.faults), len(small.plan.tasks)) == (1, 1)
    assert any(finding.checker == "delivery" for finding in small.findings)


def test_a_kept_schedule_fails_again_and_prints_its_counterexample(
    failing: SimulationResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / f"seed-{failing.plan.seed}.json"
    assert main(["simulate", "--seed", str(failing.plan.seed), "--report", str(tmp_path)]) == 1
    assert kept.exists()
    capsys.readouterr()
    assert main(["simulate", "--replay", str(kept), "--explain"]) == 1
    told = capsys.readouterr().out
    assert "FAULT" in told
    assert "FOUND by delivery" in told


def test_shrinking_stops_after_so_many_runs(failing: SimulationResult) -> None:
    plans: list[str] = []
    small = Shrinker(failing, tries=3, log=plans.append).shrink()
    assert len(small.plan.tasks) == len(failing.plan.tasks)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda path: path.stem)
def test_what_was_found_once_is_not_found_again(schedule: Path) -> None:
    outcome = simulate(Plan.loads(schedule.read_text("utf-8")))
    assert not outcome.findings, timeline(outcome)


def test_every_kept_schedule_has_its_undone_repair() -> None:
    assert {schedule.stem for schedule in SCHEDULES} == set(UNDONE)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda path: path.stem)
def test_a_kept_schedule_still_finds_what_it_was_kept_for(schedule: Path) -> None:
    """A schedule hits by its seed's luck: where anything in the simulation draws differently, it may hit no more. Then
    look for a seed that does, under the edit, and keep that.
    """
    edit, checker, kind, also = UNDONE[schedule.stem]
    with applied([edit, *also]):
        findings = simulate(Plan.loads(schedule.read_text("utf-8"))).findings
    assert (checker, kind) in {(finding.checker, finding.kind) for finding in findings}


def test_a_plan_survives_its_file() -> None:
    plan = simulate(1).plan
    assert Plan.loads(json.dumps(plan.to_json())) == plan


def changed(path: Path, **parts: object) -> None:
    path.write_text(json.dumps(simulate(1).plan.to_json() | parts))


def task(**parts: object) -> dict[str, object]:
    return {"number": 1, "at": 1.0, "work": 0.1} | parts


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.write_text("{"), "it is not JSON"),
        (lambda path: path.write_text("[]"), "its format is not"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "it is not JSON"),
        (
            lambda path: path.write_text('{"format": "harness-simulation/1"}'),
            "cannot be read: 'seed' is missing",
        ),
        (
            lambda path: path.write_text(
                json.dumps(simulate(1).plan.to_json() | {"tasks": [{"number": 1, "colour": "red"}]})
            ),
            "'colour' is no field of a PlannedTask",
        ),
        (lambda path: path.write_text("[" * 100_000), "it is not JSON"),
        (lambda path: changed(path, workers=0), "'workers' is no whole number 1 to 50"),
        (lambda path: changed(path, pools=10_000), "'pools' is no whole number 1 to 50"),
        (lambda path: changed(path, max_crashes=-1), "'max_crashes' is no whole number 0 to 1000"),
        (lambda path: changed(path, max_deep=1), "'max_deep' is no field of a Plan"),
        (lambda path: changed(path, hosts=2.7), "'hosts' is no whole number"),
        (lambda path: changed(path, seed="s"), "'seed' is no whole number"),
        (lambda path: changed(path, tasks=[task(at="x")]), "a time of a task is wrong"),
        (lambda path: changed(path, tasks=[task(at=float("inf"))]), "a time of a task is wrong"),
        (lambda path: changed(path, tasks=[task(), task()]), "two of its tasks have the same number"),
        (lambda path: changed(path, tasks=[task(level=99)]), "a level that no queue has"),
        (lambda path: changed(path, tasks=[task(lock=5)]), "a lock key is no text"),
        (lambda path: changed(path, tasks=[task(failures=-1)]), "a count of a task is wrong"),
        (
            lambda path: changed(path, faults=[{"kind": "cancel", "at": 1, "victim": "q"}]),
            "a count of a fault",
        ),
        (lambda path: changed(path, faults=[{"kind": "redis-away", "at": "x"}]), "a time of a fault"),
    ],
)
def test_a_file_that_is_no_schedule_is_one_sentence_and_exit_code_64(
    write: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "schedule.json"
    write(path)
    assert main(["simulate", "--replay", str(path)]) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "1", "--jobs", "2"],
        ["--seed", "1", "--seeds", "2"],
        ["--seeds", "0"],
        ["--seeds", "2", "--explain"],
        ["--seed", "one"],
    ],
)
def test_wrong_usage_is_reported_before_anything_runs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 64
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_campaign_counts_its_runs_over_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "--seeds", "5", "--first", "0", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "5 simulated runs" in out
    assert "0 with findings" in out
    assert "harness simulate --seeds 5 --first 0" in out


def test_the_history_of_a_seed_can_be_kept_and_judged_again(tmp_path: Path) -> None:
    kept = tmp_path / "history.jsonl"
    assert main(["simulate", "--seed", "4", "--history", str(kept)]) == 0
    found = History.load(kept)
    assert found.operations[0].f == "checkers", "with what `harness check` needs to judge it"
    assert found.operations[1:] == simulate(4).history.operations


def test_workers_of_a_killed_parent_release_their_leases_and_end() -> None:
    tasks = (PlannedTask(number=0, at=0.5, work=5.0), PlannedTask(number=1, at=2.0, work=0.1))
    faults = (SimulatedFault(kind=FaultKind.KILL_PARENT, at=1.0),)
    outcome = simulate(Plan(seed=1, pools=1, workers=1, tasks=tasks, faults=faults), trace=True)
    told = [text for _, who, text in outcome.trace if who == "pool-0/0"]
    assert not outcome.findings
    assert "RELEASE: task 0 is free again" in told
    assert told[-1] == "ends with code 0"
