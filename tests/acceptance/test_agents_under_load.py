"""A chaos run of agents under a load, judged by both; what its faults cost, exact against the endpoint's own meter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from harness.cli import main
from harness.history import History
from harness.llm import Endpoint, serving
from harness.llm.costs_in_history import recorded_costs
from tests.support.steady_endpoint import steady_profile

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
SCENARIO = "tests.support.agents_under_load:SCENARIO"
APP = ["--app", "tests.support.agents_under_load:AGENTS"]
PRICES = {"currency": "EUR", "models": {"*": {"input": 1.25, "cached": 0.125, "output": 10}}}
STEPS = 3


class ChaosRun(NamedTuple):
    code: int
    output: str
    folder: Path
    totals: dict[str, Any]
    prices: Path

    @property
    def history(self) -> Path:
        return self.folder / "history" / "agents-under-load"

    def document(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """Answers of 10 tokens in about 20 ms, each but the last with one tool call."""
    with serving(steady_profile(steps=STEPS, tokens=10)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def run(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> ChaosRun:
    folder = tmp_path_factory.mktemp("agents")
    prices = folder / "prices.json"
    prices.write_text(json.dumps(PRICES), "utf-8")
    with openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key) as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Before the run."}])
    endpoint.reset()
    words = [
        *("chaos", "run", SCENARIO, *APP, "--seed", "3", "--report", str(folder), "--load-lateness", "30"),
        *("--load", "hold(8, '2500ms'), spike(24, '500ms')", "--threshold", "ALL lost = 0, cost < 0.001 EUR"),
        *("--threshold", "TASK p50 < 60s", "--meter", endpoint.base_url, "--prices", str(prices)),
        *("--budget", "tool runs again < 1000, unlabelled = 0"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=ROOT,
        env={**os.environ, **endpoint.variables},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return ChaosRun(done.returncode, done.stdout + done.stderr, folder, endpoint.meter()["totals"], prices)


def test_both_verdicts_are_one_exit_code_and_one_report(run: ChaosRun) -> None:
    [found] = run.document("verdict.json")["scenarios"]
    checkers = found["checkers"]
    assert (run.code, found["verdict"]) == (1, "INVALID"), run.output
    assert {name for name, one in checkers.items() if one["verdict"] == "INVALID"} == {"load"}
    assert checkers["delivery"]["verdict"] == checkers["costs"]["verdict"] == "VALID"
    assert checkers["load"]["figures"]["lost"] == 0
    load = run.document("load/agents-under-load/verdict.json")
    outcomes = {one["threshold"]: one["outcome"] for one in load["thresholds"]}
    assert outcomes == {"lost = 0": "met", "cost < 0.001 EUR": "breached", "p50 < 60s": "met"}
    assert (
        load["counts"]["due"] == load["counts"]["terminal"]["complete"] == checkers["load"]["figures"]["due"]
    )
    assert found["figures"]["tasks"] > load["counts"]["due"] > 20
    page = (run.folder / "load" / "agents-under-load" / "report.html").read_text("utf-8")
    assert "1 kill-worker" in page
    assert "2 kill-pool" in page
    assert '<a href="load/agents-under-load/report.html">' in (run.folder / "report.html").read_text("utf-8")


def test_what_each_kind_of_fault_cost_is_exact_against_the_meter(run: ChaosRun) -> None:
    found = recorded_costs(History.load(run.history))
    assert found is not None
    assert found.incomplete is None
    totals = run.totals
    tokens = totals["prompt_tokens"] + totals["completion_tokens"]
    assert found.total.tokens == found.needed.tokens + found.again.tokens == tokens
    assert (found.total.requests, found.unlabelled.requests) == (totals["requests"], 0)
    assert sum(spent.tokens for spent in found.by_cause.values()) == found.again.tokens
    # Each agent of a kill had ended at its gate, or was in the middle of its steps.
    assert {"kill-worker", "kill-pool"} <= set(found.by_cause)
    assert found.by_cause["kill-worker"].requests >= STEPS
    assert found.tool_runs - found.tool_runs_again == found.steps * (STEPS - 1) / STEPS
    load = run.document("load/agents-under-load/verdict.json")["rows"]["ALL"]["figures"]
    assert (load["tokens"], load["tokens_again"]) == (tokens, found.again.tokens)
    assert found.total.money is not None
    assert load["cost"] == float(found.total.money)
    priced = (totals["prompt_tokens"] - totals["cached_tokens"]) * Decimal("1.25")
    priced += totals["cached_tokens"] * Decimal("0.125") + totals["completion_tokens"] * 10
    assert found.total.money == priced / 1_000_000


def test_the_costs_of_the_endpoint_by_the_history_of_the_run_are_the_same(
    run: ChaosRun, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prices", str(run.prices), "--history", str(run.history), "--json"]
    assert main(["llm", "costs", endpoint.root, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    recorded = recorded_costs(History.load(run.history))
    assert recorded is not None
    del found["budget"]
    assert found == recorded.to_value()
    assert main(["llm", "costs", str(run.history), "--json", "--budget", "again < 90%"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {**recorded.to_value(), "budget": {"again < 90%": True}}


def test_the_history_alone_has_the_same_verdicts(run: ChaosRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(run.history), "--scenario", SCENARIO, *APP, "--json"]) == 1
    again = json.loads(capsys.readouterr().out)["checkers"]
    [found] = run.document("verdict.json")["scenarios"]
    for name in ("load", "costs"):
        assert again[name] == found["checkers"][name]
