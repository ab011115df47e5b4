"""The request of a run: its options reach the run, and the command that repeats it has them all."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.cli.main import _parser
from harness.cli.request import RunRequest
from harness.errors import UsageError
from harness.load.agent_tasks import AgentTasks
from harness.workloads.base import PacedWorkload
from tests.unit.harness.load.test_baseline import evidence, report


def request(*words: str) -> RunRequest:
    given = ["chaos", "run", *words]
    return RunRequest.of(_parser("harness", given).parse_args(given))


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "2.5", "--timeout", "120"],
        ["--rate", "0.123456789", "--timeout", "999999.5"],
        ["--rate", "10000"],
        ["--timeout", "1000000"],
        ["--patience", "12.25"],
        ["--workload", "agent-tasks"],
        [],
    ],
)
def test_the_command_that_repeats_a_run_keeps_its_rate_and_its_time_out(words: list[str]) -> None:
    timeout = [] if "--timeout" in words else ["--timeout", "900000"]
    first = request("kill-pool", "--tasks", "60", *words, *timeout)
    again = request(*shlex.split(first.repeat(first.scenarios))[3:])
    for name in ("rate", "timeout", "patience", "tasks", "workload"):
        assert getattr(again.options, name) == getattr(first.options, name)
    assert again.seed == first.seed
    assert again.repeat(again.scenarios) == first.repeat(first.scenarios)


def test_a_command_without_a_rate_or_a_time_out_names_none() -> None:
    found = request("kill-pool", "--tasks", "60")
    assert not {"--rate", "--timeout", "--patience"} & set(shlex.split(found.repeat(found.scenarios)))


LOAD = ["--load", "hold(20, '5s')", "--threshold", "TASK p95 < 2s", "--load-lateness", "0.1234567"]


def test_a_load_decides_the_number_of_tasks_and_is_repeated(tmp_path: Path) -> None:
    compared = ("--load-baseline", str(report(tmp_path, evidence(1.0))), "--threshold", "TASK p99 < 2x")
    first = request("kill-pool", "--workload", "locked-tasks", "--seed", "5", *LOAD, *compared)
    words = shlex.split(first.repeat(first.scenarios))
    assert "--tasks" not in words
    again = request(*words[3:])
    assert again.asked == first.asked
    (plan,) = first.plans
    assert first.asked.load is not None
    assert plan.tasks > len(first.asked.load.due) > 60
    assert plan.scenario.workload.name == "locked-tasks"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*LOAD, "--tasks", "60"], "Leave --tasks out"),
        ([*LOAD, "--rate", "5"], "Leave --rate out"),
        (LOAD[2:4], "--threshold judges a load"),
        (LOAD[4:], "--load-lateness judges a load"),
        (["--load-baseline", "reports/last"], "--load-baseline judges a load"),
        ([*LOAD, "--threshold", "WAIT refund max < 2s"], "tasks of the target have no names"),
        (["--seed", "1", "--load", "hold(1, '3s')"], "too few for the 8 faults.*longer --load"),
    ],
)
def test_options_that_contradict_a_load_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        request("kill-worker-mid-task", *words)


def test_a_workload_replaces_that_of_every_scenario_at_its_rate() -> None:
    words = ["kill-pool", "kill-worker-mid-task", "--tasks", "60", "--timeout", "900"]
    plain, changed = request(*words), request(*words, "--workload", "agent-tasks")
    for before, after in zip(plain.plans, changed.plans, strict=True):
        assert isinstance(after.scenario.workload, AgentTasks)
        assert isinstance(before.scenario.workload, PacedWorkload)
        assert after.scenario.workload.rate == before.scenario.workload.rate
        assert after.scenario.faults == before.scenario.faults
