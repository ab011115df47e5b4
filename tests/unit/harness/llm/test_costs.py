"""What faults cost, exact against the meter, and budgets."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import openai
import pytest

from harness.errors import UsageError
from harness.history import History
from harness.history.faults import FaultWindow, injected_faults
from harness.history.operation import Operation, OperationType
from harness.llm import Budget, Endpoint, MeteredRequest, PriceList, ToolRun, costs
from harness.llm.costs import ASKED_AGAIN, CLIENT_LEFT
from harness.llm.meter import MeterRecords, RequestOutcome

PRICES = PriceList.of_value({"models": {"m": {"input": 1, "cached": "0.1", "output": 4}}})
NUMBERS = count(1)
COMPLETE, CUT = RequestOutcome.COMPLETE, RequestOutcome.CUT
LEFT, REFUSED, RUNNING = RequestOutcome.DISCONNECTED, RequestOutcome.REFUSED, RequestOutcome.RUNNING


def asked(step: str | None, started: int, outcome: RequestOutcome = COMPLETE, **more: Any) -> MeteredRequest:
    """A request of 100 + 10 tokens that lasts 10 ns."""
    number = next(NUMBERS)
    fields: dict[str, Any] = {
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 10,
        "fault": None,
    }
    return MeteredRequest(
        number=number, id=f"req_{number}", key="k", api="chat", model="m", stream=False, activity="a", step=step,
        client_id=None, started=started, ended=started + 10, outcome=outcome, **{**fields, **more},
    )  # fmt: skip


def records(*requests: MeteredRequest, runs: tuple[ToolRun, ...] = (), dropped: int = 0) -> MeterRecords:
    return MeterRecords(requests=requests, tool_runs=runs, dropped=dropped)


def kill(start: int, name: str = "kill-worker") -> FaultWindow:
    value = {"phase": "inject", "fault": 1, "kind": "kill"}
    operation = Operation(time=start, process="nemesis", type=OperationType.INFO, f=name, value=value)
    (fault,) = injected_faults(History.of([operation]))
    return fault


def test_a_run_without_faults_pays_nothing_again() -> None:
    found = costs(records(asked("1", 0), asked("2", 20)), PRICES)
    assert (found.again.requests, found.share_again, found.steps, found.steps_again) == (0, 0, 2, 0)
    assert found.needed == found.total
    assert found.total.money == Decimal(2 * (60 * 10 + 40 * 1 + 10 * 40)) / 10 / 1_000_000


def test_the_last_whole_answer_is_needed_and_the_others_are_paid_again() -> None:
    found = costs(
        records(
            asked("1", 0),
            asked("1", 20, LEFT, completion_tokens=3),
            asked("1", 40, CUT, fault="cut", completion_tokens=5),
            asked("1", 60, REFUSED, fault="429", prompt_tokens=0, cached_tokens=0, completion_tokens=0),
            asked("1", 70, REFUSED, status=401, prompt_tokens=0, cached_tokens=0, completion_tokens=0),
            asked("1", 80, completion_tokens=11),
            asked("2", 100, fault="malformed"),
            asked("2", 120),
            asked(None, 140),
        ),
        PRICES,
    )
    assert found.needed.completion_tokens == 21
    assert {cause: spent.tokens for cause, spent in found.by_cause.items()} == {
        ASKED_AGAIN: 110,
        CLIENT_LEFT: 103,
        "cut": 105,
        "429": 0,
        "401": 0,
        "malformed": 110,
    }
    assert (found.unlabelled.requests, found.steps, found.steps_again) == (1, 2, 2)
    assert found.by_activity["a"] == found.again


def test_a_step_without_any_whole_answer_is_paid_in_vain() -> None:
    found = costs(records(asked("1", 0, LEFT)))
    assert (found.needed.requests, found.again.requests, found.again.money) == (0, 1, None)


def test_what_is_paid_again_is_charged_to_the_fault_between_the_requests() -> None:
    requests = (
        asked("1", 0),
        asked("1", 100),
        asked("2", 200),
        asked("2", 300),
        asked("3", 400),
        asked("3", 500),
    )
    found = costs(records(*requests), faults=[kill(50), kill(250, "kill-pool"), kill(1_000)])
    assert {cause: spent.requests for cause, spent in found.by_cause.items()} == {
        "kill-worker": 1,
        "kill-pool": 1,
        ASKED_AGAIN: 1,
    }


@pytest.mark.parametrize("seed", range(20))
def test_every_billed_token_is_in_exactly_one_sum(seed: int) -> None:
    rng = Random(seed)
    outcomes = [COMPLETE, CUT, LEFT, REFUSED]
    requests = [
        asked(
            rng.choice(["1", "2", "3", None]),
            rng.randrange(1_000),
            rng.choice(outcomes),
            completion_tokens=rng.randrange(50),
            fault=rng.choice([None, "cut"]),
        )
        for _ in range(30)
    ]
    found = costs(records(*requests), PRICES, [kill(rng.randrange(1_000)) for _ in range(3)])
    parts = found.needed, found.again, found.unlabelled
    assert (
        sum(part.tokens for part in parts)
        == found.total.tokens
        == sum(each.billed_tokens for each in requests)
    )
    assert sum((part.money or Decimal() for part in parts), Decimal()) == found.total.money
    assert sum(part.tokens for part in found.by_cause.values()) == found.again.tokens


def test_runs_of_the_same_tool_call_are_counted() -> None:
    def run(call: str | None) -> ToolRun:
        return ToolRun(name="t", call=call, activity="a", step="1", key="k", started=1)

    found = costs(
        records(asked("1", 0), runs=(run("c1"), run("c1"), run("c1"), run("c2"), run(None), run(None)))
    )
    assert (found.tool_runs, found.tool_runs_again) == (6, 2)


@pytest.mark.parametrize(
    ("some", "why"),
    [
        (records(), "no request"),
        (records(asked(None, 0)), "no request"),
        (records(asked("1", 0), asked("1", 0, RUNNING)), "still run"),
        (records(asked("1", 0), dropped=1), "dropped"),
    ],
)
def test_costs_that_are_not_exact_meet_no_budget(some: MeterRecords, why: str) -> None:
    found = costs(some, PRICES)
    assert why in str(found.incomplete)
    assert Budget.parse("again < 5%").met(found) is None


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("again < 50%", False),
        ("again <= 50%", True),
        ("again = 0.5", True),
        ("money < 0.01", True),
        ("money < 0.000001", False),
        ("money again<1, tokens < 1", False),
        ("tokens again = 110, requests again = 1, steps again = 1", True),
        ("tokens < 1000, unlabelled = 0, tool runs again = 0", True),
    ],
)
def test_a_budget_is_met_or_exceeded(text: str, met: bool) -> None:
    assert Budget.parse(text).met(costs(records(asked("1", 0), asked("1", 20)), PRICES)) is met


def test_money_without_prices_is_not_measurable_unless_another_limit_is_exceeded() -> None:
    found = costs(records(asked("1", 0), asked("1", 20)))
    assert Budget.parse("money < 1").met(found) is None
    assert Budget.parse("money < 1, again = 0").met(found) is False


@pytest.mark.parametrize(
    "wrong", ["", "again", "again > 1", "mony < 1", "money < 5%", "again < -1", "again < 1,"]
)
def test_a_wrong_budget_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        Budget.parse(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"model": {}},
        {"models": {"m": {"input": 1, "output": 1}}},
        {"models": {"m": {"input": 1, "cached": 1, "output": -1}}},
        {"models": {"m": {"input": 1, "cached": 1, "output": "NaN"}}},
        {"models": {"m": {"input": 1, "cached": 1, "output": 1, "more": 1}}},
        {"models": {"m": None}},
        {"models": {}, "more": 1},
    ],
)
def test_a_wrong_price_list_is_refused(wrong: object, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(wrong), "utf-8")
    with pytest.raises(UsageError):
        PriceList.read(file)


def test_a_model_without_a_price_is_refused_and_a_star_is_any() -> None:
    with pytest.raises(UsageError):
        PRICES.money("other", 1, 0, 0)
    star = PriceList.of_value({"currency": "EUR", "models": {"*": {"input": 2, "cached": 1, "output": 3}}})
    assert star.money("other", 1_000_000, 0, 0) == 2
    assert star.currency == "EUR"


def test_costs_are_exact_against_the_meter_of_an_endpoint(endpoint: Endpoint, client: openai.OpenAI) -> None:
    for step, fault in (("1", None), ("1", "cut"), ("2", None), ("3", "503"), ("3", None), ("2", None)):
        headers = {"X-Activity-Id": "a", "X-Activity-Step": step}
        try:
            client.responses.create(
                model="m",
                input="Hi.",
                extra_headers={**headers, **({"X-Simulated-Fault": fault} if fault else {})},
            )
        except openai.APIError:
            assert fault is not None
    found, totals = costs(endpoint.records(), PRICES), endpoint.meter()["totals"]
    assert found.total.prompt_tokens == totals["prompt_tokens"]
    assert found.total.completion_tokens == totals["completion_tokens"]
    assert found.total.cached_tokens == totals["cached_tokens"]
    assert {cause: spent.requests for cause, spent in found.by_cause.items()} == {
        "cut": 1,
        ASKED_AGAIN: 1,
        "503": 1,
    }
    assert json.loads(json.dumps(found.to_value()))["steps_again"] == 2
