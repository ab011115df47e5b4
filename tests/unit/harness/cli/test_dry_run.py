"""`harness chaos run --dry-run`: the plan of each scenario, and nothing else happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cli
from harness.scenario import registry
from harness.scenario.schedule import Schedule


def test_a_plan_has_each_fault_with_its_moment_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["kill-worker-mid-task", "fill-redis", "--seed", "7", "--tasks", "100", "--dry-run"]
    assert cli.main(["chaos", "run", *given]) == 0
    printed = capsys.readouterr().out
    for name in given[:2]:
        schedule = Schedule.of(registry.scenario(name), seed=7, tasks=100)
        assert f"{name}: 100 tasks in " in printed
        for fault in schedule.faults:
            moment = (
                f"at {fault.moment:.2f} s"
                if fault.moment is not None
                else f"in the handler of task {fault.gate[5:]}"
            )
            assert f"{fault.number}. {moment}" in printed
    assert "fill-redis for 1.5 s" in printed
    assert "2 scenarios, seed 7, at least " in printed
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_what_another_target_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chaos", "run", "kill-pool", "--target", "rq", "--seed", "1", "--dry-run"]) == 0
    assert "note: the target promises 2 slots" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--tag", "smoke"], lambda tags: "smoke" in tags),
        (["--tag", "soak"], lambda tags: "soak" in tags),
        (["--all"], lambda tags: "soak" not in tags),
    ],
)
def test_a_tag_chooses_its_scenarios_and_all_are_those_that_are_no_soaks(
    words: list[str],
    chosen: Callable[[tuple[str, ...]], bool],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.environments.topologies.pgbouncer.program", lambda: "/usr/sbin/pgbouncer")
    assert cli.main(["chaos", "run", *words, "--seed", "1", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    expected = {name for name, one in registry.scenarios().items() if chosen(one.tags)}
    assert {line.partition(":")[0] for line in printed.splitlines() if " tasks in " in line} == expected
