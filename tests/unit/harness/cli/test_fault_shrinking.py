"""`--shrink`, `--faults` and `harness chaos replay`: the fewest faults that still break a promise."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cli
from harness.checkers.base import CheckResult, Verdict
from harness.cli.fault_shrinking import MOST_TRIES, FaultShrinker, replayed, shrunk_note, write_replay
from harness.environments.base import ServerVersions
from harness.errors import UsageError
from harness.scenario import ScenarioRun, registry
from harness.scenario.schedule import Schedule
from harness.shrinking import cut
from tests.support.histories import INFO, HistoryBuilder


def run_of(faults: Collection[int], *, broken: str = "") -> ScenarioRun:
    """A run with these faults; INVALID by the checker of this name."""
    book = HistoryBuilder()
    for number in faults:
        book.op("nemesis", INFO, "kill-worker", fault=number, phase="inject", kind="kill", pids=[number])
    result = CheckResult(verdict=Verdict.INVALID if broken else Verdict.VALID, summary="", figures={})
    return ScenarioRun(
        scenario="s",
        summary="",
        backend="embedded",
        target="t",
        target_version="1",
        seed=1,
        tasks=1,
        servers=ServerVersions(postgres="", redis=""),
        history=book.history,
        results={broken or "delivery": result},
        seconds=1.0,
        repeat="",
    )


@pytest.mark.parametrize(
    ("culprits", "members"),
    [({3}, range(1, 9)), ({2, 7}, range(1, 9)), (set(), range(1, 9)), ({1, 2, 3}, range(1, 4)), ({5}, [5])],
)
def test_what_is_left_is_what_fails(culprits: set[int], members: Collection[int]) -> None:
    assert set(cut(list(members), lambda kept: culprits <= set(kept))) == culprits


def test_only_the_same_broken_promise_counts() -> None:
    def again(kept: Collection[int]) -> ScenarioRun:
        return run_of(kept, broken="delivery" if 3 in kept else "locks")

    assert FaultShrinker(run_of(range(1, 6), broken="delivery"), again).shrink() == (3,)


def test_a_search_ends_when_there_is_no_time_or_after_many_tries() -> None:
    without_time = FaultShrinker(run_of(range(1, 6), broken="delivery"), lambda kept: None)
    assert without_time.shrink() == (1, 2, 3, 4, 5)
    assert without_time.tries == 0
    stubborn = FaultShrinker(run_of(range(1, 99), broken="delivery"), lambda kept: run_of(kept))
    stubborn.shrink()
    assert stubborn.tries == MOST_TRIES


@pytest.mark.parametrize("name", ["kill-worker-mid-task", "kill-pool", "fill-redis"])
def test_the_faults_that_are_kept_have_the_moments_that_they_had(name: str) -> None:
    scenario = registry.scenario(name)
    whole = Schedule.of(scenario, seed=3, tasks=120)
    some = Schedule.of(scenario, seed=3, tasks=120, faults={2, 3})
    assert some.faults == whole.faults[1:3]
    gates = {fault.gate for fault in some.faults if fault.moment is None}
    assert {arrival.task.gate for arrival in some.arrivals} - {None} == gates
    ungated = [replace(one, task=replace(one.task, gate=None)) for one in whole.arrivals]
    assert [replace(one, task=replace(one.task, gate=None)) for one in some.arrivals] == ungated


def test_the_note_has_the_command_also_for_a_folder_with_a_space() -> None:
    file = Path("reports/last night/replay-kill-pool.json")
    command = shrunk_note([2, 4], 3, file).partition("tries): ")[2]
    assert shlex.split(command) == ["harness", "chaos", "replay", str(file)]


def test_a_replay_runs_the_arguments_of_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "replay-kill-pool.json"
    write_replay(file, ["kill-pool", "--seed", "7", "--tasks", "90", "--faults", "2,4", "--dry-run"])
    assert cli.main(["chaos", "replay", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "kill-pool: 90 tasks" in printed
    assert [line.split(".")[0].strip() for line in printed.splitlines() if "kill-pool" in line][1:] == [
        "2",
        "4",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read: it is not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "is not the file of a --shrink"),
        ('{"version": 2, "arguments": []}', "is not the file of a --shrink of this version"),
        ('{"version": 1, "arguments": [1]}', "is not the file of a --shrink"),
        ('"kill-pool"', "is not the file of a --shrink"),
    ],
)
def test_a_file_that_is_no_replay_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "verdict.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"{complaint}.*name replay-….json of a report folder"):
        replayed(file)


def test_a_replay_may_be_in_any_encoding_of_unicode(tmp_path: Path) -> None:
    file = tmp_path / "replay.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text('{"version": 1, "arguments": ["kill-pool"]}', encoding)
        assert replayed(file) == ["kill-pool"]


def test_wrong_faults_are_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, complaint in {
        ("kill-pool", "--faults", "9"): "There is no fault 9: the scenario has 5 faults",
        ("kill-pool", "--faults", "0"): "There is no fault 0",
        ("kill-pool", "--faults", "two"): "'two' is no list of numbers",
        ("kill-pool", "lose-reply", "--faults", "1"): "Name one scenario",
    }.items():
        assert cli.main(["chaos", "run", *words]) == 64
        assert complaint in capsys.readouterr().err
    assert cli.main(["chaos", "replay", str(tmp_path / "none.json")]) == 64
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "r.json").write_text(json.dumps({"version": 1, "arguments": ["--sede"]}))
    assert cli.main(["chaos", "replay", str(tmp_path / "r.json")]) == 64


def test_the_note_counts() -> None:
    notes = [
        shrunk_note(left, 3, Path("r.json")).partition(" to break it (3 tries)")[0]
        for left in ((), (8,), (2, 5))
    ]
    assert notes == ["no fault is needed", "fault 8 is enough", "the faults 2, 5 are enough"]
