"""How cells are run: in processes of their own, within a time limit, and ended in order on an interruption.

A stand-in for the command `harness` in the working folder writes what a cell writes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.base import Verdict
from harness.history.promises import Loss
from harness.progress import Quiet
from harness.queues import run as run_module
from harness.queues.result import Cell, CellResult, read_results
from harness.queues.run import CellRunner

HARNESS = """
import json, pathlib, signal, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--report") + 1])
scenario = words[words.index("run") + 1]
(folder / "arguments.json").write_text(json.dumps(words))
table = next(one for one in folder.parents if one.name == "table")
with (table / "order").open("a") as order:
    print(scenario, file=order)
if scenario == "cell-reply-lost" and (table / "order").read_text().split().count(scenario) == 1:
    print("harness: the first attempt shows nothing.")
    sys.exit(2)
if scenario == "cell-sigterm":
    print("harness: the pool does not start.")
    sys.exit(2)
if scenario == "cell-sigterm-late":
    def end(*_):
        (folder / "ended").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, end)
    (folder / "waits").touch()
    while True:
        time.sleep(60)
document = {
    "verdict": "VALID", "error": None, "checkers": {}, "target_version": "1", "servers": {},
    "figures": {"seconds": 1.0},
}
(folder / "verdict.json").write_text(json.dumps({"scenarios": [document]}))
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m harness` in a subprocess finds the package of the working folder first."""
    package = tmp_path / "work" / "harness"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(HARNESS, "utf-8")
    monkeypatch.chdir(package.parent)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table"


def runner(table: Path, **more: Any) -> CellRunner:
    options: dict[str, Any] = {
        "seed": 7,
        "tasks": 36,
        "jobs": 2,
        "deadline": time.monotonic() + 60,
        "progress": Quiet(),
    }
    return CellRunner(folder=table, **(options | more))


def cell(loss: Loss, target: str = "agentexec", repeat: int = 1) -> Cell:
    return Cell(target=target, loss=loss, scenario=f"cell-{loss}", repeat=repeat)


def run_one(table: Path, of: Cell) -> CellResult:
    [found] = runner(table).run([of])
    assert list(read_results(table)) == [found]
    return found


def test_a_cell_is_a_run_of_its_scenario_with_a_seed_for_each_repeat(table: Path) -> None:
    of = cell(Loss.WORKER_KILLED, repeat=3)
    found = run_one(table, of)
    assert found.verdict is Verdict.VALID
    chosen = "--target agentexec --seed 9 --tasks 36 --timeout 120"
    assert found.command == f"harness chaos run cell-worker-killed {chosen}"
    given = json.loads((table / of.folder / "arguments.json").read_text())
    assert given == [*found.command.split()[1:], "--report", str(table / of.folder)]


def test_a_cell_that_writes_no_verdict_is_unknown_with_its_last_line(table: Path) -> None:
    found = run_one(table, cell(Loss.SIGTERM))
    assert (found.verdict, found.why) == (Verdict.UNKNOWN, "harness: the pool does not start.")
    assert not found.is_final, "the same command runs it again"


def test_a_cell_that_shows_nothing_is_run_once_more_after_all_others(table: Path) -> None:
    cells = [cell(Loss.REPLY_LOST), cell(Loss.WORKER_KILLED)]
    found = runner(table, jobs=1).run(cells)
    assert [(one.cell, one.verdict) for one in found] == [(one, Verdict.VALID) for one in cells]
    assert sorted(map(repr, read_results(table))) == sorted(map(repr, found))
    order = (table / "order").read_text().split()
    assert order == ["cell-reply-lost", "cell-worker-killed", "cell-reply-lost"]


def test_a_cell_that_could_show_nothing_is_not_run(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.queues.matrix.BUDGET_SECONDS", 20.0)
    found = run_one(table, cell(Loss.WORKER_PAUSED))
    assert (found.verdict, found.has_report, found.is_final) == (Verdict.UNKNOWN, False, True)
    assert "not waited for" in found.why
    assert not (table / found.cell.folder / "arguments.json").exists()


def test_a_cell_whose_target_is_unknown_is_unknown(table: Path) -> None:
    found = run_one(table, cell(Loss.WORKER_KILLED, target="no-such-queue"))
    assert found.verdict is Verdict.UNKNOWN
    assert "no target 'no-such-queue'" in found.why


def test_a_cell_that_does_not_end_is_ended_in_order(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "BUDGET_SECONDS", 2.0)
    monkeypatch.setattr(run_module, "_EXTRA_SECONDS", 0.0)
    found = run_one(table, cell(Loss.SIGTERM_LATE))
    assert (found.verdict, found.why) == (Verdict.UNKNOWN, "the cell did not end within 2 s")
    assert (table / found.cell.folder / "ended").exists()


def test_no_cell_begins_after_the_deadline(table: Path) -> None:
    assert runner(table, deadline=time.monotonic() - 1).run([cell(Loss.WORKER_KILLED)]) == []
    assert list(read_results(table)) == []


def test_an_interruption_ends_the_running_cells_and_leaves_no_result_of_them(
    table: Path, eventually: Callable[..., Any]
) -> None:
    class Interrupted(Quiet):
        def step(self, text: str) -> None:
            if "worker-killed" in text:
                eventually(lambda: (table / waiting.folder / "waits").exists())
                raise KeyboardInterrupt

    waiting = cell(Loss.SIGTERM_LATE)
    cells = [waiting, cell(Loss.WORKER_KILLED), *(cell(Loss.POOL_KILLED, repeat=n) for n in (1, 2, 3))]
    with pytest.raises(KeyboardInterrupt):
        runner(table, progress=Interrupted()).run(cells)
    assert (table / waiting.folder / "ended").exists()
    assert waiting not in [one.cell for one in read_results(table)]
