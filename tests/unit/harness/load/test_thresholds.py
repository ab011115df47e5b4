"""The language of thresholds: what is read, what is judged, and what is refused."""

from __future__ import annotations

import json
import math

import pytest

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.load.thresholds import (
    Threshold,
    check_rows,
    evaluate,
    parse,
    parse_all,
    parse_conditions,
)

FIGURES = {"lost": 1, "dropped": 12, "late": 3, "deadlocks": 0, "tokens": 10_000, "cost": 0.25}
ROW = LoadRow(
    latencies=LatencyHistogram.of([0.1] * 90 + [1.0] * 9 + [math.inf]),
    count=100,
    errors=7,
    planned=120,
    seconds=10,
    figures=FIGURES,
)


@pytest.mark.parametrize(
    ("text", "shown", "bound"),
    [
        ("p95 < 2s", "p95 < 2s", 2),
        ("p99.9<=5 s", "p99.9 <= 5s", 5),
        ("mean<250ms", "mean < 250ms", 0.25),
        ("max < 1.5 m", "max < 90s", 90),
        ("min > 10us", "min > 0.01ms", 0.00001),
        ("lost = 0", "lost = 0", 0),
        ("lost == 0", "lost = 0", 0),
        ("errors < 1%", "errors < 1%", 0.01),
        ("rate > 0.95", "rate > 95%", 0.95),
        ("rate >= 95 /s", "rate >= 95/s", 95),
        ("cost < .5", "cost < 0.5", 0.5),
        ("cost<2.50USD", "cost < 2.5 USD", 2.5),
        ("cost_again <= 2 EUR", "cost_again <= 2 EUR", 2),
        ("tokens_again = 0", "tokens_again = 0", 0),
        ("tokens <= 1000000", "tokens <= 1000000", 1_000_000),
    ],
)
def test_a_threshold_is_read_and_shown(text: str, shown: str, bound: float) -> None:
    (threshold,) = parse("TASK answer", text)
    assert (threshold.row, threshold.text, threshold.bound) == ("TASK answer", shown, bound)
    assert parse("TASK answer", threshold.text) == (threshold,)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("p90 < 101ms", "met"),
        ("p91 < 101ms", "breached"),
        ("p91 < 2s", "met"),
        ("p99 < 2s", "met"),
        ("p99.1 < 2s", "breached"),
        ("max < 1h", "breached"),
        ("min >= 100ms", "met"),
        ("mean < 1h", "breached"),
        ("count = 100", "met"),
        ("errors <= 7", "met"),
        ("errors < 7", "breached"),
        ("errors = 7%", "met"),
        ("errors >= 7%", "met"),
        ("lost = 0", "breached"),
        ("lost <= 1%", "met"),
        ("dropped = 10%", "met"),
        ("late > 3%", "breached"),
        ("rate > 0.77", "met"),
        ("rate >= 78%", "breached"),
        ("rate = 9.3/s", "met"),
        ("deadlocks = 0", "met"),
        ("tokens < 10000", "breached"),
        ("cost <= 0.25", "met"),
    ],
)
def test_a_threshold_is_met_or_breached(text: str, outcome: str) -> None:
    (result,) = evaluate(parse("TASK answer", text), {"TASK answer": ROW})
    assert result.outcome.value == outcome, result.text


def test_the_result_has_the_measured_value_and_the_bound() -> None:
    results = evaluate(parse("TASK answer", "p95 < 500ms, p100 < 2s"), {"TASK answer": ROW})
    assert [result.text for result in results] == [
        "TASK answer: p95 < 500ms is breached: it was 1s.",
        "TASK answer: p100 < 2s is breached: it was never.",
    ]
    value = json.loads(json.dumps(results[1].to_value(), allow_nan=False))
    assert (value["measured"], value["bound"], value["unit"]) == ("never", 2, "seconds")


@pytest.mark.parametrize(
    ("row", "text", "reason"),
    [
        ("TASK idle", "p95 < 2s, errors = 0, count = 0, rate > 0", "the row saw nothing"),
        (
            "TASK other",
            "lost = 0",
            "There is no row 'TASK other'; choose one of: TASK answer, TASK idle, WAIT answer",
        ),
        ("WAIT answer", "lost = 0", "the row has no lost"),
        ("WAIT answer", "rate > 0.5", "the row has no rate"),
        ("WAIT answer", "p50 < 1s", "the row has no p50"),
    ],
)
def test_what_was_not_seen_is_not_measurable(row: str, text: str, reason: str) -> None:
    rows = {"TASK answer": ROW, "TASK idle": LoadRow(), "WAIT answer": LoadRow(count=3)}
    for result in evaluate(parse(row, text), rows):
        assert result.outcome.verdict is Verdict.UNKNOWN
        assert (result.measured, result.reason) == (None, reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p95 < 2", "The bound '2' of p95 has a wrong unit; its units are: us, ms, s, m, h, x."),
        ("rate > 5ms", "The bound '5ms' of rate has a wrong unit; its units are: none, %, /s, x."),
        ("cost < 5%", "The bound '5%' of cost has a wrong unit; its units are: none, x, USD."),
        (
            "p101 < 2s",
            "There is no statistic 'p101'; choose a percentile such as p95, or one of: mean, min, max,",
        ),
        ("median < 2s", "There is no statistic 'median'"),
        ("p95", "The threshold 'p95' of 'TASK a' cannot be read; write for example 'p95 < 2s, lost = 0'."),
        ("", "The threshold '' of 'TASK a' cannot be read"),
        ("lost = 0,", "The threshold '' of 'TASK a' cannot be read"),
        ("p95 < -1s", "The threshold 'p95 < -1s' of 'TASK a' cannot be read"),
        ("p95 != 1s", "cannot be read"),
        ("p95 < 1s p99 < 2s", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse("TASK a", text)
    assert message in str(raised.value)


def test_conditions_name_their_row() -> None:
    assert [
        (one.row, one.text) for one in parse_conditions("TASK answer p99 > 2s, errors > 1%, WAIT p9 p50 > 1s")
    ] == [("TASK answer", "p99 > 2s"), ("TASK answer", "errors > 1%"), ("WAIT p9", "p50 > 1s")]


@pytest.mark.parametrize("text", ["p99 > 2s", "", "TASK answer", "TASK answer p99"])
def test_a_condition_without_a_row_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write for example 'TASK answer p99 > 2s'"):
        parse_conditions(text)


def test_rows_can_be_checked_before_the_run() -> None:
    thresholds = parse_all({"TASK a": "lost = 0", "TASK b": "lost = 0"})
    check_rows(thresholds, ["TASK a", "TASK b"])
    with pytest.raises(UsageError, match="There is no row 'TASK b'; choose one of: LATE, TASK a"):
        check_rows(thresholds, ["TASK a", "LATE"])


def test_the_bound_of_a_share_is_the_float_that_a_division_gives() -> None:
    """As floats, 7 * 0.01 is above 7 / 100: a threshold at its bound would be breached."""
    assert all(parse("TASK a", f"errors = {percent}%")[0].compare(percent / 100) for percent in range(101))
    assert (
        Threshold(row="", statistic="p50", comparator=">=", bound=0.007, unit="time")
        == parse("", "p50>=7ms")[0]
    )
