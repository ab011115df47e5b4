"""Scenarios whose faults cannot strike a target: left out of a tag by name, refused if they are named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import cli
from harness.checkers import faults_injected
from harness.checkers.base import Verdict
from harness.cli import series
from harness.cli.main import _parser
from harness.cli.request import RunRequest
from harness.errors import UsageError
from harness.faults import memory
from harness.history import InjectionKind, OperationType
from harness.history.names import LEFT_OUT
from harness.kit.harness_worker.actions import ACTIONS
from harness.report.markdown import markdown
from harness.scenario import registry
from harness.scenario.applicable import for_target, services_of, why_left_out
from harness.targets.adapter import shipped
from harness.targets.agentexec_target import TARGET
from harness.targets.base import Target, TaskFeature
from harness.testing.application import Application
from harness.workloads.varied_tasks import VariedTasks
from tests.support.histories import HistoryBuilder
from tests.unit.harness.cli.test_series import Runs, runs

__all__ = ["runs"]

OF_REDIS = {
    *("flush-redis", "stall-redis", "restart-redis", "fill-redis", "evict-redis", "occupy-redis"),
    *("kill-redis-clients", "demote-redis", "rotate-redis-password", "lose-redis-tail"),
}
OF_POSTGRES = {
    *("stall-postgres", "restart-postgres", "terminate-backends", "exhaust-connections", "lock-tables"),
    *("read-only-postgres", "cancel-statements", "terminate-storm", "backup-and-restore-under-load"),
}
OF_HANDLERS = {"handler-exits", "handler-blocks", "kill-forked-worker", "exhaust-memory"}
OF_FEATURES = {"vary-tasks"}
AGENTEXEC = ("agentexec",)
NODE = str(Path(__file__).parents[3] / "data" / "node_adapter")


def request(*words: str) -> RunRequest:
    given = ["chaos", "run", *words]
    return RunRequest.of(_parser("harness", given).parse_args(given))


def names(found: Sequence[tuple[Any, str]]) -> set[str]:
    return {scenario.name for scenario, _ in found}


@pytest.mark.parametrize(
    ("target", "left_out"),
    [
        ("agentexec", set()),
        ("agentexec-0.3.0", OF_FEATURES),
        ("rq", OF_POSTGRES | OF_FEATURES),
        ("celery@rabbitmq-late", OF_POSTGRES | OF_FEATURES),
        ("pgqueuer", OF_REDIS | OF_FEATURES),
        ("procrastinate", OF_REDIS | OF_FEATURES),
        (NODE, OF_REDIS | OF_POSTGRES | OF_HANDLERS | {"lose-reply"}),
    ],
)
@pytest.mark.parametrize("chosen", ["--all", "--tag=release"])
def test_what_cannot_strike_is_left_out(target: str, left_out: set[str], chosen: str) -> None:
    found = request(chosen, "--target", target)
    assert left_out | ({"kill-producer"} if target not in AGENTEXEC else set()) <= names(found.left_out)
    known = {one.name: one for one in registry.scenarios().values()}
    for name in (one for one in names(found.left_out) - OF_FEATURES if known[one].topology is None):
        assert all(_cannot(fault, found.target) for fault in known[name].faults)
    for one in (one for one in found.scenarios if one.topology is None):
        assert not one.faults or not all(_cannot(fault, found.target) for fault in one.faults)
    for plan in (plan for plan in found.plans if plan.scenario.topology is None):
        assert not any(_cannot(fault, found.target) for fault in plan.scenario.faults)


def _cannot(fault: Any, found: Target) -> bool:
    if getattr(fault, "of_producer", False) and hasattr(found, "why_no_producer"):
        return True
    service, action = getattr(fault, "service", None), getattr(fault, "action", None)
    able = getattr(found, "actions", ACTIONS)
    return service not in (None, *services_of(found)) or action not in (None, *able)


@pytest.mark.parametrize(
    ("name", "target", "sentence"),
    [
        ("restart-postgres", "rq", "restart-postgres strikes postgres, and rq needs redis"),
        ("lose-reply", NODE, "lose-reply strikes redis and postgres, and node-files needs no service"),
        (
            "vary-tasks",
            "rq",
            "vary-tasks asks tasks for fails and delay and cancel and key, which `features` of rq",
        ),
        ("kill-producer", "rq", "it kills a producer, but the client of an adapter alone knows which tasks"),
        ("handler-exits", NODE, "handler-exits asks handlers for exit, which `actions` of node-files"),
    ],
)
def test_one_that_is_named_is_refused(name: str, target: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        request("kill-pool", name, "--target", target)


def test_an_application_has_no_producer_that_is_killed() -> None:
    wrapped: Any = SimpleNamespace()
    shop: Any = Application(application=None, wrapped=wrapped)
    why = why_left_out(registry.scenario("kill-producer"), shop)
    assert why == f"kills a producer, but {Application.why_no_producer}"


def test_of_several_kinds_those_that_can_strike_are_injected() -> None:
    (plan,) = request("lose-reply", "--target", "pgqueuer").plans
    assert [getattr(fault, "service", None) for fault in plan.scenario.faults] == ["postgres", "postgres"]
    assert plan.left_out == 2
    assert "2 of 4 faults are left out: lose-reply strikes redis, and pgqueuer needs postgres" in plan.notes
    _, note = for_target(registry.scenario("mixed-soak"), registry.target("rq"))
    assert note is not None
    assert "faults are left out: mixed-soak strikes postgres" in note


def test_of_several_features_those_of_the_target_are_used() -> None:
    some: Any = SimpleNamespace(name="some", features=(TaskFeature.DELAY,))
    scenario, note = for_target(registry.scenario("vary-tasks"), some)
    assert (
        note == "vary-tasks asks tasks for fails and cancel and key, which `features` of some does not have"
    )
    workload = scenario.workload
    assert isinstance(workload, VariedTasks)
    arrivals = list(workload.generator(seed=1, tasks=100, gated=()))
    assert any(one.task.delay for one in arrivals)
    assert not any(one.task.fails or one.task.key or one.task.cancel_after for one in arrivals)
    assert "delays" in workload.checkers()
    assert workload.checkers().keys().isdisjoint({"charges", "retries", "cancels", "keys"})


def test_what_this_machine_cannot_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "why_no_group", lambda: "there are no cgroups")
    found, note = for_target(registry.scenario("exhaust-memory"), TARGET)
    assert "exceed-memory-group" not in {fault.name for fault in found.faults}
    assert (len(found.faults), note) == (
        6,
        "3 of 9 faults are left out: exhaust-memory limits memory, but there are no cgroups",
    )


def test_the_checker_asks_for_as_many_faults_as_can_strike() -> None:
    builder = HistoryBuilder().injected("lose-reply", InjectionKind.DISCONNECT, pids=[])
    checker = faults_injected(4, minimum_kills=0)
    assert checker(builder.history).verdict is Verdict.UNKNOWN
    builder.op("runner", OperationType.INFO, LEFT_OUT, faults=1, of=4)
    assert checker(builder.history).verdict is Verdict.VALID


def test_the_reports_name_what_was_left_out(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    words = ["--tag", "smoke", "--target", NODE, "--seed", "1", "--report", str(report)]
    assert cli.main(["chaos", "run", *words]) == 0
    why = "left out, it strikes redis and postgres, and node-files needs no service"
    printed = capsys.readouterr()
    assert f"NOT ASKED lose-reply: {why}" in printed.out
    document = json.loads((report / "verdict.json").read_text("utf-8"))
    assert document["verdict"] == "VALID"
    assert "scenarios are left out" in document["summary"]
    found = {one["scenario"]: one for one in document["scenarios"]}
    assert (found["lose-reply"]["verdict"], found["lose-reply"]["error"]) == ("NOT ASKED", None)
    assert why in found["lose-reply"]["checkers"]["asked"]["summary"]
    assert set(runs.begun) | OF_SMOKE_LEFT_OUT == set(found)
    suites = {one.get("name"): one for one in ElementTree.parse(report / "junit.xml").getroot()}
    assert (suites["lose-reply"].get("skipped"), suites["lose-reply"].get("errors")) == ("1", "0")
    assert why in (report / "report.html").read_text("utf-8")


OF_SMOKE_LEFT_OUT = {"flush-redis", "restart-postgres", "lose-reply"}


def test_a_summary_for_a_job_names_it_too(runs: Runs, tmp_path: Path) -> None:
    asked = request("--tag", "smoke", "--target", NODE, "--seed", "1")
    made = series.ScenarioSeries(request=asked, folder=tmp_path, ended=lambda _run: None)
    assert "left out, it strikes" in markdown(made.results())
    assert [run.verdict for run in made.results()] == [Verdict.NOT_ASKED] * 3


def test_a_target_that_says_nothing_is_asked_for_everything() -> None:
    silent: Any = SimpleNamespace(name="silent")
    assert {name for name, one in registry.scenarios().items() if why_left_out(one, silent)} == OF_FEATURES
    only: Any = SimpleNamespace(name="silent", needs=("postgres",))
    assert why_left_out(registry.scenario("flush-redis"), only) == "strikes redis, and silent needs postgres"
    assert why_left_out(registry.scenario("flush-redis"), TARGET) is None


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_adapter_has_the_worker_kit(name: str) -> None:
    assert why_left_out(registry.scenario("handler-exits"), registry.target(name)) is None
