"""Scenarios, targets and workloads by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import chaos
from harness.errors import UsageError
from harness.scenario import registry
from harness.workloads.numbered_tasks import WORKLOAD


def test_the_scenarios_of_chaos_are_known_by_their_own_names() -> None:
    assert dict(chaos.SCENARIOS).items() <= registry.scenarios().items()
    assert all(name == scenario.name for name, scenario in chaos.SCENARIOS.items())


def test_a_users_module_of_the_name_chaos_hides_no_scenario(tmp_path: Path) -> None:
    (tmp_path / "chaos.py").write_text(
        "from harness.scenario import registry\nSCENARIO = registry.scenario('kill-pool')"
    )
    looked_up = "print(*[registry.scenario(name).name for name in ('restart-redis', 'chaos:SCENARIO')])"
    done = subprocess.run(
        [sys.executable, "-c", f"from harness.scenario import registry; {looked_up}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(chaos.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["restart-redis", "kill-pool"], done.stderr


@pytest.mark.parametrize("place", ["harness.py", "harness/__init__.py"])
def test_a_users_package_harness_that_workers_would_find_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=f"^{place} in the current folder hides the package harness .* Rename"
    ):
        registry.require_own_package()


def test_a_workload_is_found_by_name_and_by_path() -> None:
    assert registry.workload("numbered-tasks") is WORKLOAD
    assert registry.workload("harness.workloads.numbered_tasks:WORKLOAD") is WORKLOAD
    assert registry.workload("locked-tasks").name == "locked-tasks"


def test_a_scenario_of_ones_own_is_found_in_the_folder_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_chaos.py").write_text("from chaos.kill_pool import SCENARIO\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    assert registry.scenario("my_own_chaos:SCENARIO").name == "kill-pool"


def test_an_unknown_scenario_is_answered_with_the_known_ones_and_a_close_match() -> None:
    with pytest.raises(UsageError, match=r"no scenario 'kill-pol'\. Did you mean kill-pool\?") as caught:
        registry.scenario("kill-pol")
    assert all(name in str(caught.value) for name in chaos.SCENARIOS)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nothing.of.the.kind:X", "cannot be imported"),
        ("json:NOTHING", "has no NOTHING"),
        (":X", "does not name a scenario"),
        ("json:", "does not name a scenario"),
        ("json:dumps", "is not a Scenario but a function"),
    ],
)
def test_a_wrong_path_to_a_scenario_is_one_clear_sentence(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        registry.scenario(name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("shop", "'shop' does not name an application"),
        (":SHOP", "':SHOP' does not name an application. Write package.module:NAME."),
        ("nothing.of.the.kind:SHOP", "The application nothing.of.the.kind:SHOP cannot be imported"),
        ("json:SHOP", "has no SHOP. Write package.module:NAME of an application."),
    ],
)
def test_a_wrong_path_to_an_application_calls_it_so(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        registry.application(name)


def test_a_target_without_its_verbs_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a target: it has no name, version, open"):
        registry.target("json:dumps")


def test_an_unknown_target_and_workload_name_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no target 'agentexek'\. Did you mean agentexec\?"):
        registry.target("agentexek")
    with pytest.raises(UsageError, match="Known: agent-tasks, locked-tasks, numbered-tasks"):
        registry.workload("x")
