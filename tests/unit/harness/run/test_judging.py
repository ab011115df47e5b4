"""A history is judged by what it carries: the same results as those of its run, without its scenario."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import cli
from harness.checkers import budget_per_kill, duplicates, standard
from harness.checkers.base import Checker, CheckResult, Verdict, check_all
from harness.checkers.settings import NotCarried, made_again, recorded
from harness.history import History, InjectionKind, Operation, OperationType
from harness.history.promises import Loss, Promises
from harness.queues.cells import CELLS
from harness.run.judging import carried_checkers, checkers_of, checkers_operation, judge_alone
from harness.scenario import registry
from harness.simulation.plan import Theme
from harness.simulation.plan_generator import plan_of
from harness.simulation.simulation import checkers_of as simulated_checkers
from harness.simulation.simulation import simulate
from tests.support.histories import HistoryBuilder, completed


def carried(checkers: Mapping[str, Checker]) -> tuple[dict[str, Checker], list[str]]:
    """The checkers after a history carried them through a file."""
    operation = checkers_operation(checkers, time=0, scenario="any", summary="Any.")
    return carried_checkers(json.loads(operation.to_json())["value"])


def same(found: Mapping[str, Checker], wanted: Mapping[str, Checker]) -> bool:
    return {name: recorded(one) for name, one in found.items()} == {
        name: recorded(one) for name, one in wanted.items()
    }


def test_every_scenario_that_ships_is_carried_whole() -> None:
    for scenario in (*registry.scenarios().values(), *CELLS.values()):
        found, missing = carried(checkers_of(scenario))
        assert (scenario.name, missing) == (scenario.name, [])
        assert same(found, checkers_of(scenario)), scenario.name


def test_every_theme_of_the_simulation_is_carried_whole() -> None:
    plans = {plan.theme: plan for plan in map(plan_of, range(40))}
    assert plans.keys() == set(Theme)
    for plan in plans.values():
        found, missing = carried(simulated_checkers(plan))
        assert missing == []
        assert same(found, simulated_checkers(plan))


def test_settings_decide_the_verdict_of_a_carried_checker() -> None:
    history = HistoryBuilder().enqueued(1).ran(1, by=12).ran(1, by=13, fence=2).history
    for budget, verdict in ((1, Verdict.VALID), (0, Verdict.INVALID), (budget_per_kill(4), Verdict.INVALID)):
        found, _ = carried({"duplicates": duplicates(budget)})
        assert check_all(found, history)["duplicates"].verdict is verdict


def test_a_checker_of_ones_own_is_named_and_not_asked() -> None:
    def own(history: History) -> CheckResult:
        return CheckResult(verdict=Verdict.VALID, summary=f"{len(history)} operations")

    checkers = {"own": own, "duplicates": duplicates(lambda _: 3), **standard(minimum_faults=0)}
    checkers["duplicates"] = duplicates(lambda _: 3)
    operation = checkers_operation(checkers, time=0, scenario="mine", summary="Mine.")
    judged = judge_alone(History.of([operation, *completed(HistoryBuilder().enqueued(1), 1).history]))
    assert judged.name == "mine"
    assert judged.note == (
        "not asked, as no history can carry such a checker: own and duplicates; "
        "--scenario NAME asks the checkers of a scenario"
    )
    assert judged.results["delivery"].verdict is Verdict.VALID


@pytest.mark.parametrize(
    "value",
    [
        {"made_by": "system", "settings": {"command": "true"}},
        {"made_by": "delivery", "settings": {"allow": 1}},
        {"made_by": "delivery"},
        "delivery",
        7,
    ],
)
def test_a_file_names_no_other_code_and_a_checker_that_cannot_be_made_is_unknown(value: object) -> None:
    found, missing = carried_checkers({"checkers": {"one": value, "other": None}})
    assert missing == ["other"]
    result = found["one"](History.of([]))
    assert result.verdict is Verdict.UNKNOWN
    assert "judge with the version that recorded the history" in result.summary


@pytest.mark.parametrize(
    "value", [{}, {"checkers": {}}, {"checkers": ["delivery"]}, {"checkers": "delivery"}]
)
def test_a_history_that_names_no_checker_is_asked_the_usual_ones(value: dict[str, object]) -> None:
    broken = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1, status="error").history
    carried = Operation(time=0, process="runner", type=OperationType.INFO, f="checkers", value=value)
    assert judge_alone(History.of([carried, *broken])).results["delivery"].verdict is Verdict.INVALID


def test_only_checkers_describe_themselves() -> None:
    with pytest.raises(NotCarried, match="not one of the harness"):
        recorded(len)
    with pytest.raises(NotCarried, match="describes no checker"):
        made_again({"settings": {}})


def test_a_history_without_checkers_is_asked_the_usual_ones() -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1)
    bare = judge_alone(builder.history)
    assert bare.note is not None
    assert "without exits, transitions, protocol, queue and witnesses" in bare.note
    assert {"delivery", "duplicates"} < bare.results.keys()
    assert "recovery" not in bare.results
    promised = judge_alone(builder.promised(Promises(survives=frozenset(Loss), log=True)).history)
    assert promised.results["transitions"].verdict is Verdict.UNKNOWN  # promised and not shown
    assert promised.results["fencing"].verdict is Verdict.NOT_ASKED


def test_a_stop_and_the_loss_of_a_lease_are_considered_without_a_scenario() -> None:
    builder = HistoryBuilder().enqueued(1).ran(1, by=12).injected("flush-redis", InjectionKind.DATA_LOSS)
    judged = judge_alone(builder.ran(1, by=13, fence=2).sigterm(13).exited().recorded(1, fence=2).history)
    assert judged.results["duplicates"].verdict is Verdict.VALID
    assert judged.note is not None
    assert judged.note.endswith("and shutdown")


def test_the_command_needs_no_scenario_for_a_simulated_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "simulated.jsonl"
    assert cli.main(["simulate", "--seed", "3", "--history", str(path)]) == 0
    assert cli.main(["check", str(path), "--json"]) == 0
    output = capsys.readouterr().out
    document = json.loads(output[output.index("{") :])
    assert document["scenario"] == "simulation-3"
    assert document["note"] is None
    assert document["checkers"].keys() == simulate(3).results.keys()
