"""Tokens and money of an endpoint as figures of a load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from harness.errors import UsageError
from harness.llm import Endpoint, EndpointProfile, serving
from harness.load.bill import LoadBill, SpentFigures
from harness.load.rows import LoadRow
from harness.load.thresholds import ThresholdOutcome, evaluate, parse, parse_all

PRICES = {"currency": "USD", "models": {"*": {"input": 2, "cached": 1, "output": 3}}}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serving(EndpointProfile(time_scale=1000)) as endpoint:
        yield endpoint


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(PRICES), "utf-8")
    return file


def ask(endpoint: Endpoint, **labels: str) -> None:
    body = json.dumps({"model": "m", "input": "Hi."}).encode()
    headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
    headers |= {"X-Simulated-Prompt-Tokens": "100", "X-Simulated-Completion-Tokens": "10"}
    headers |= {f"X-Activity-{name}": value for name, value in labels.items()}
    request = Request(f"{endpoint.base_url}/responses", data=body, headers=headers)
    with urlopen(request) as answer:
        answer.read()


def test_the_bill_of_a_load_is_judged_in_the_row_of_the_whole_run(endpoint: Endpoint, prices: Path) -> None:
    ask(endpoint, Id="a", Step="1")
    thresholds = parse_all(
        {"ALL": "tokens = 330, tokens_again < 200, cost < .0007 USD, cost_again > 0.00022"}
    )
    bill = LoadBill.begin(endpoint.root, prices, thresholds)
    for step in ("1", "2", "1"):
        ask(endpoint, Id="a", Step=step)
    figures = dict(bill.figures().figures)
    assert figures == {"tokens": 330, "tokens_again": 110, "cost": 0.00069, "cost_again": 0.00023}
    assert bill.figures().unknown is None
    rows = {"ALL": LoadRow(count=3, figures=figures)}
    assert {one.outcome for one in evaluate(thresholds, rows)} == {ThresholdOutcome.MET}
    (breached,) = evaluate(parse("ALL", "cost < 0.00069 USD"), rows)
    assert breached.text == "ALL: cost < 0.00069 USD is breached: it was 0.00069 USD."
    assert breached.to_value()["unit"] == "USD"


def test_requests_without_a_step_are_billed_and_not_charged_to_a_fault(endpoint: Endpoint) -> None:
    bill = LoadBill.begin(endpoint.base_url, None, ())
    ask(endpoint)
    assert bill.figures() == SpentFigures(figures={"tokens": 110})


def test_an_endpoint_that_forgot_or_that_is_gone_leaves_the_bill_unknown(endpoint: Endpoint) -> None:
    bill = LoadBill.begin(endpoint.root, None, ())
    ask(endpoint, Id="a", Step="1")
    endpoint.reset()
    assert bill.figures().figures == {}
    assert "dropped 1 records" in str(bill.figures().unknown)
    assert LoadBill.begin(None, None, ()).figures() == SpentFigures()
    with serving(EndpointProfile()) as gone:
        bill = LoadBill.begin(gone.root, None, ())
    assert bill.figures().figures == {}
    assert "does not answer" in str(bill.figures().unknown)


@pytest.mark.parametrize(
    ("metered", "priced", "threshold", "sentence"),
    [
        (False, False, "tokens < 1", "Give its URL with --load-meter"),
        (False, True, "lost = 0", "--load-prices needs the endpoint"),
        (True, False, "cost < 1", "Give one with --load-prices"),
        (True, True, "cost < 1 EUR", "not in the currency of the price list, USD"),
    ],
)
def test_a_threshold_that_nothing_bills_is_refused(
    metered: bool, priced: bool, threshold: str, sentence: str, endpoint: Endpoint, prices: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        LoadBill.begin(
            endpoint.root if metered else None, prices if priced else None, parse("ALL", threshold)
        )
