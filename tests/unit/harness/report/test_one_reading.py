"""The report shows what the checkers judged: for the same history, the same figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checkers import faults_injected, recovery, standard
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.errors import HarnessError
from harness.history import History, InjectionKind
from harness.history.faults import killed_workers
from harness.report import verdict_table
from harness.report.headline import headline
from harness.report.page import report_html
from harness.report.picture_data import data_of, picture_data
from harness.report.recovery import recovery_plot
from harness.report.scales import seconds_text
from harness.report.verdict_json import verdict_json
from harness.simulation import Plan, simulate
from harness.simulation.picture import as_run
from harness.simulation.themes import RECOVERED_WITHIN
from loadtests.bench.history import made
from tests.support.histories import INFO, HistoryBuilder
from tests.support.report_samples import kill_history, run_of, sigterm_history, valid_run

SCHEDULES = Path(__file__).parents[3] / "simulation" / "schedules"
WHEN = "2026-01-02T03:04:05+00:00"


def dense() -> History:
    """Kills so close that a task is cut off twice, and one task that ends otherwise."""
    builder = HistoryBuilder().at(1).began(1, by=12).began(2, by=12).began(3, by=12).at(2).killed(12)
    builder.at(2.25).began(1, by=13, fence=2).at(3).killed(13).at(3.75).ran(1, by=14, fence=3)
    builder.injected("kill-worker", InjectionKind.KILL, pids=[99]).injected("pause-worker", pids=[14])
    return builder.recorded(3, status="error").history


def again() -> History:
    """A history as it was saved and read again."""
    return History(tuple(made(20_000)))


def kept(name: str) -> Callable[[], History]:
    return lambda: simulate(Plan.loads((SCHEDULES / name).read_text("utf-8"))).history


HISTORIES: dict[str, Callable[[], History]] = {
    "kills": lambda: kill_history()[0],
    "losses": lambda: kill_history(lose=True)[0],
    "stop": sigterm_history,
    "dense": dense,
    "made": again,
    "simulated": lambda: simulate(7).history,
    **{path.stem: kept(path.name) for path in sorted(SCHEDULES.glob("*.json"))[:3]},
}


@pytest.mark.parametrize("from_last_kill", [False, True])
@pytest.mark.parametrize("name", HISTORIES)
def test_the_recovery_that_is_shown_is_the_one_that_is_judged(name: str, from_last_kill: bool) -> None:
    history = HISTORIES[name]()
    results = check_all({"recovery": recovery(2.0, from_last_kill=from_last_kill)}, history)
    judged, run = results["recovery"].figures, run_of(history, results=results)
    data, line = data_of(run), headline(run)
    cut = [one for fault in data.faults for one in fault.interrupted]
    times = [one.seconds for one in cut if one.seconds is not None]
    assert data.problem is None
    assert (len(cut), len(times)) == (judged["interrupted"], judged["resumed"])
    assert sum(len(fault.stuck) for fault in data.faults) == judged["stuck"]
    assert {key: judged[key] for key in data.recovery} == data.recovery
    assert max(times, default=None) == judged["max"]
    if judged["interrupted"]:  # an UNKNOWN result has its figures too
        assert (line.recovery_p50, line.recovery_p99) == (judged["p50"], judged["p99"])
    plot = str(recovery_plot(data) or "")
    assert plot.count('class="dot"') == judged["resumed"]
    assert all(f"p99 {seconds_text(data.recovery['p99'])}" in plot for _ in times[:1])
    for fault in {fault.name for fault in data.faults if fault.interrupted}:
        own = [one.seconds for row in data.faults if row.name == fault for one in row.interrupted]
        assert max((s for s in own if s is not None), default=None) == judged[f"{fault}_max"]


@pytest.mark.parametrize("name", HISTORIES)
def test_the_runs_that_are_drawn_as_cut_off_are_those_that_were_interrupted(name: str) -> None:
    history = HISTORIES[name]()
    data = picture_data(history)
    cut = sorted((bar.task, bar.killed_by.label) for bar in data.runs if bar.killed_by is not None)
    assert cut == sorted((one.task, fault.label) for fault in data.faults for one in fault.interrupted)
    resumed = [one for fault in data.faults for one in fault.interrupted if one.seconds is not None]
    assert len(data.resumptions) == len(resumed)
    killed = {lane.process for lane in data.workers if lane.killed_by is not None}
    assert killed == {
        one for one in killed_workers(history) if one in {lane.process for lane in data.workers}
    }


@pytest.mark.parametrize("name", HISTORIES)
def test_the_faults_and_kills_of_the_headline_are_those_of_the_checker(name: str) -> None:
    history = HISTORIES[name]()
    judged = faults_injected()(history).figures
    line = headline(run_of(history, results={}))
    assert (line.faults, line.kills) == (judged["faults"], judged["kills"])
    assert line.faults == sum(not fault.failed for fault in picture_data(history).faults)


def test_every_report_has_the_figures_of_the_checkers() -> None:
    history = dense()
    run = run_of(history, results=check_all(standard(), history))
    (scenario,) = json.loads(verdict_json([run], written_at=WHEN))["scenarios"]
    checkers = scenario["checkers"]
    assert scenario["figures"]["lost"] == checkers["delivery"]["figures"].get("lost")
    assert scenario["figures"]["recovery_p99"] == checkers["recovery"]["figures"]["p99"] == 1.0 - 0.25
    assert scenario["figures"]["kills"] == checkers["faults"]["figures"]["kills"] == 3
    recovered = [one for fault in scenario["faults"] for one in fault["recovered"]]
    assert [one["seconds"] for one in recovered] == [0.25, None, 0.75]
    assert [fault["kind"] for fault in scenario["faults"]] == ["kill", "kill", "kill", "pause"]
    assert "250 ms / 750 ms" in verdict_table([run])
    page = report_html([run], folder=Path("/nowhere"), written_at=WHEN)
    row = '<td class="n">3</td><td class="n">1</td><td class="n">250 ms</td>'
    assert re.search(row, page)


def test_a_simulated_run_is_drawn_by_the_clock_of_its_own_checker() -> None:
    outcome = next(
        one for seed in range(200) if "recovery" in (one := simulate(seed)).results and _waits(one.results)
    )
    data = data_of(as_run(outcome, repeat="again"))
    assert data.recovery["p99"] == outcome.results["recovery"].figures["p99"]
    assert data.recovery["p99"] is not None
    assert data.recovery["p99"] <= RECOVERED_WITHIN


def _waits(results: object) -> bool:
    assert isinstance(results, dict)
    return results["recovery"].figures["p99"] is not None


def test_a_figure_that_a_checker_did_not_produce_is_an_error_and_not_a_dash() -> None:
    bare = CheckResult(verdict=Verdict.VALID, summary="fine", figures={"acknowledged": 1})
    run = valid_run(results={"delivery": bare})
    for report in (
        lambda: headline(run),
        lambda: verdict_table([run]),
        lambda: verdict_json([run], written_at=WHEN),
    ):
        with pytest.raises(HarnessError, match="gave VALID without the figure 'lost'"):
            report()


def test_a_figure_is_a_dash_only_without_checker_verdict_or_measurement() -> None:
    unknown = CheckResult(verdict=Verdict.UNKNOWN, summary="nothing was submitted")
    idle = CheckResult(
        verdict=Verdict.INVALID, summary="stuck", figures={"p50": None, "p99": None, "from_last_kill": 0}
    )
    line = headline(valid_run(results={"delivery": unknown, "recovery": idle}))
    assert (line.lost, line.illegal, line.recovery_p50) == (None, None, None)


def test_a_history_that_cannot_be_read_still_gives_every_report_with_the_reason() -> None:
    history = HistoryBuilder().op("nemesis", INFO, "kill-worker", phase="inject").history
    run = run_of(history, results={})
    why = "the injection of kill-worker has the kind"
    document = json.loads(verdict_json([run], written_at=WHEN))
    assert why in document["scenarios"][0]["history"]["problems"][0]
    assert "The history cannot be drawn" in report_html([run], folder=Path("/nowhere"), written_at=WHEN)
    assert "0/0" in verdict_table([run])
