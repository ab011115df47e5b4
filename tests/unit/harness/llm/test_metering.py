"""What an endpoint bills during a run, in the history of the run, and the checker of its budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from harness.checkers.base import CheckResult, Verdict, check_safe
from harness.cli import main
from harness.errors import HarnessError
from harness.history import History
from harness.history.names import METER, MODEL_REQUEST
from harness.llm import Endpoint, PriceList
from harness.llm.costs_in_history import costs_checker, recorded_budget, recorded_costs
from harness.llm.endpoint_process import EndpointProcess
from harness.llm.metering import Metering, MeterWindow
from tests.support.histories import INFO, HistoryBuilder

PRICES = PriceList.of_value(
    {"currency": "EUR", "models": {"*": {"input": 1, "cached": "0.1", "output": 4.5}}}
)


def ask(client: openai.OpenAI, *steps: str) -> None:
    for step in steps:
        headers = {"X-Activity-Id": "a", "X-Activity-Step": step}
        client.responses.create(model="m", input="Hi.", extra_headers=headers)


def billed(
    endpoint: Endpoint, client: openai.OpenAI, folder: Path, budget: str | None, *steps: str
) -> History:
    """A history with a bill of these steps, after a request that does not belong to it."""
    metering = Metering(endpoint=endpoint, prices=PRICES, budget=budget)
    ask(client, "before")
    window = metering.begin()
    ask(client, *steps)
    metering.record(window, folder)
    return History.load(folder)


def checked(history: History) -> CheckResult:
    return check_safe(costs_checker(), history)


def test_the_history_has_the_bill_of_the_run_and_no_other(
    endpoint: Endpoint, client: openai.OpenAI, tmp_path: Path
) -> None:
    history = billed(endpoint, client, tmp_path, None, "1", "2", "1")
    found = recorded_costs(history)
    assert found is not None
    assert (found.total.requests, found.again.requests, found.steps, found.incomplete) == (3, 1, 2, None)
    assert found.currency == "EUR"
    assert found.total.money == sum(
        PRICES.money("m", each.prompt_tokens, each.cached_tokens, each.completion_tokens)
        for each in endpoint.records().requests
        if each.step != "before"
    )
    assert checked(history).verdict is Verdict.NOT_ASKED
    assert "asked again" in checked(history).summary
    assert history.undeclared() == {}


@pytest.mark.parametrize(
    ("budget", "verdict", "said"),
    [
        ("again < 60%, money < 1", Verdict.VALID, "tokens billed"),
        ("again < 20%", Verdict.INVALID, "again < 20% is exceeded"),
        ("steps again = 0, money < 1", Verdict.INVALID, "steps again = 0 is exceeded: 1"),
    ],
)
def test_a_budget_is_judged(
    budget: str, verdict: Verdict, said: str, endpoint: Endpoint, client: openai.OpenAI, tmp_path: Path
) -> None:
    result = checked(billed(endpoint, client, tmp_path, budget, "1", "1"))
    assert (result.verdict, said in result.summary) == (verdict, True), result.summary
    activities = [one["activity"] for one in result.counterexamples if "activity" in one]
    assert activities == (["a"] if verdict is Verdict.INVALID else [])


def test_requests_that_a_reset_forgot_make_the_costs_inexact(
    endpoint: Endpoint, client: openai.OpenAI
) -> None:
    window = MeterWindow(endpoint)
    ask(client, "1", "2")
    endpoint.reset()
    ask(client, "3")
    found = window.records()
    assert ([each.step for each in found.requests], found.dropped) == (["3"], 2)


def test_costs_that_are_not_exact_are_unknown(
    endpoint: Endpoint, client: openai.OpenAI, tmp_path: Path
) -> None:
    assert checked(billed(endpoint, client, tmp_path, "again < 5%")).verdict is Verdict.UNKNOWN
    summary: dict[str, Any] = {"endpoint": "", "prices": None, "budget": None, "dropped": 3}
    assert "3 records" in checked(history_of(summary, {"started": 1})).summary
    assert checked(history_of(summary, {"number": 1})).verdict is Verdict.UNKNOWN
    assert recorded_budget(HistoryBuilder().history) == {}


def test_without_steps_the_whole_bill_is_exact_and_what_was_paid_again_is_not() -> None:
    summary: dict[str, Any] = {"endpoint": "", "prices": None, "budget": None, "dropped": 0}
    request = {"started": 1, "activity": None, "step": None}
    assert checked(history_of(summary, request)).verdict is Verdict.NOT_ASKED
    for budget, verdict in (("tokens < 5", Verdict.VALID), ("tokens again < 5", Verdict.UNKNOWN)):
        assert checked(history_of(summary | {"budget": budget}, request)).verdict is verdict


def test_an_endpoint_on_another_machine_has_another_clock_and_no_fault_is_charged(endpoint: Endpoint) -> None:
    windows = [MeterWindow(endpoint) for _ in range(2)]
    windows[1].process = replace(EndpointProcess.own(), clock="other/")
    assert [window.elsewhere for window in windows] == [False, True]
    summary = {"endpoint": "", "prices": None, "budget": None, "dropped": 0, "elsewhere": True}
    result = checked(history_of(summary, {"started": 1}))
    assert "on another machine, so nothing is charged to a fault" in result.summary


def history_of(summary: dict[str, Any], request: dict[str, Any]) -> History:
    names = ("number", "id", "key", "api", "model", "stream", "activity", "step", "client_id")
    whole = dict.fromkeys(names, "1") | {"outcome": "complete", "ended": 2} if "started" in request else {}
    builder = HistoryBuilder().op(METER, INFO, METER, **summary)
    return builder.op(METER, INFO, MODEL_REQUEST, **whole | request).history


def test_an_endpoint_that_is_gone_is_named(endpoint: Endpoint, tmp_path: Path) -> None:
    window = MeterWindow(endpoint)
    gone = Metering(endpoint=Endpoint("http://127.0.0.1:1"))
    with pytest.raises(HarnessError, match="does not answer"):
        gone.begin()
    window._endpoint = gone.endpoint
    with pytest.raises(HarnessError, match="What the run cost is not known"):
        gone.record(window, tmp_path)


def test_a_history_without_a_bill_has_no_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "costs", str(tmp_path)]) == 64
    assert "has no bill" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--budget", "again < 5%"], 64, "--budget needs the endpoint"),
        (["--meter", "{}", "--budget", "money < 5"], 64, "needs a price list"),
        (["--meter", "{}", "--budget", "mony < 5"], 64, "is no limit of a budget"),
        (["--meter", "http://127.0.0.1:1"], 2, "does not answer"),
        (["--load", "hold(9, '9s')", "--threshold", "ALL tokens < 5"], 64, "Give its URL with --meter"),
        (["--meter", "{}", "--load", "hold(9, '9s')", "--threshold", "ALL cost < 5"], 64, "with --prices"),
    ],
)
def test_a_run_that_cannot_be_billed_is_refused_before_it_starts(
    words: list[str], code: int, sentence: str, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(endpoint.base_url) if word == "{}" else word for word in words]
    assert main(["chaos", "run", "kill-pool", *given]) == code
    assert sentence in capsys.readouterr().err
