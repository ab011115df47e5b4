"""A load in a run: its tasks arrive at its times, the faults strike, and both verdicts are one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.checkers.base import Verdict
from harness.history import History
from harness.load.load_checker import judged_load
from harness.load.planned_load import PlannedLoad
from harness.load.run_files import write_run_load
from harness.report import claimed_folder, write_reports
from harness.targets.base import Submission, TaskSpec
from tests.support.instant_target import Instant, NoFault, Run

# A test does not fail because its own machine is busy.
LATENESS = 60.0


def load(*thresholds: str) -> PlannedLoad:
    return PlannedLoad.of(
        "hold(100, '300ms'), hold(40, '500ms')", seed=3, thresholds=thresholds, lateness=LATENESS
    )


def test_a_load_is_submitted_at_its_times_and_judged_with_the_checkers(run: Run, tmp_path: Path) -> None:
    planned = load("TASK p95 < 60s, lost = 0", "ALL rate > 99%")
    found = run(Instant(), NoFault(), load=planned)
    assert found.verdict is Verdict.VALID, found.results
    assert found.results["load"].figures["due"] == len(planned.due)
    intended = [op.value["intended"] for op in found.history.where("enqueue") if "intended" in op.value][
        : len(planned.due)
    ]
    steps = [later - earlier for earlier, later in pairwise(planned.due)]
    assert [(b - a) / 1e9 for a, b in pairwise(intended)] == pytest.approx(steps, abs=1e-6)
    assert planned.note in found.notes
    paths = write_run_load(found, tmp_path)
    assert paths is not None
    assert paths.html is not None
    assert "no-fault" in paths.html.read_text("utf-8")
    document = json.loads(paths.json.read_text("utf-8"))
    assert (document["exit_code"], document["counts"]["terminal"]) == (0, {"complete": len(planned.due)})
    assert '<a href="load/test/report.html">' in write_reports([found], tmp_path).html.read_text("utf-8")


class NamedTasks(Instant):
    """An application with two tasks."""

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return [replace(one, name=NAMES[one.number % 2]) for one in super().submit(tasks)]


NAMES = ("refund", "mail")


def test_the_rows_of_each_task_and_what_was_used_are_in_the_history(run: Run, tmp_path: Path) -> None:
    found = run(NamedTasks(), NoFault(), load=load("TASK max < 60s, lost = 0", "ALL rate > 99%"))
    assert found.verdict is Verdict.VALID, found.results
    judged = judged_load(History.load(tmp_path))
    assert judged is not None
    assert judged.verdict.verdict is Verdict.VALID
    evidence = judged.verdict.evidence
    kinds = {
        row.partition(" ")[2] for row in evidence.rows if row.startswith(("TASK", "LATE", "ENQUEUE", "RUN"))
    }
    assert kinds == {"", *NAMES}
    assert sum(evidence.rows[f"TASK {name}"].count for name in NAMES) == evidence.rows["TASK"].count
    used = {one.name: one for one in evidence.resources}
    assert (used["workers"].most, used["queue depth"].why) == (
        1,
        "the target does not publish it where the harness reads it",
    )
    assert (used["generator memory"].most or 0) > 1_000_000
    assert [one.count for one in evidence.logs] == [None, None], "these servers have no log"


def test_the_loads_of_an_earlier_run_are_removed_and_other_files_stay(run: Run, tmp_path: Path) -> None:
    history = tmp_path / "history"
    history.mkdir()
    found = run(Instant(), NoFault(), load=load(), history=history)
    assert found.results["load"].verdict is Verdict.VALID
    for name in ("test", "other"):
        paths = write_run_load(replace(found, scenario=name), tmp_path)
        assert paths is not None
        assert paths.json.exists()
    (tmp_path / "load" / "other" / "notes.txt").touch()
    (tmp_path / "load" / "mine").mkdir()
    (tmp_path / "load" / "mine" / "verdict.json").write_text('{"facts": {}}', "utf-8")
    with claimed_folder(tmp_path):
        left = {path.name for path in (tmp_path / "load").rglob("*")}
        assert left == {"other", "notes.txt", "mine", "verdict.json"}


@pytest.mark.parametrize(
    ("target", "thresholds", "invalid", "valid"),
    [
        (Instant(), ["TASK max < 1us"], "load", "delivery"),
        (Instant(forgets=frozenset({5})), ["TASK p50 < 60s"], "delivery", "load"),
    ],
)
def test_either_of_both_makes_the_run_invalid(
    run: Run, target: Instant, thresholds: list[str], invalid: str, valid: str
) -> None:
    found = run(target, NoFault(), load=load(*thresholds))
    assert found.verdict is Verdict.INVALID
    assert found.results[invalid].verdict is Verdict.INVALID
    assert found.results[valid].verdict is Verdict.VALID
