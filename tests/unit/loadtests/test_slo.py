"""Service levels of literal measurements: met, breached, and not measurable."""

import json
import math
from dataclasses import replace

import pytest

from harness.environments.deadlocks import Deadlocks
from harness.errors import UsageError
from harness.load.thresholds import ThresholdOutcome
from loadtests.measurement import Incomplete, Measurement
from loadtests.slo import Slo, evaluate

GOOD = Measurement(
    planned=100.0,
    seconds=10.0,
    attempted=100,
    enqueue_ms=tuple(float(n) for n in range(1, 101)),
    end_to_end_ms=tuple(float(n) for n in range(101, 201)),
    deadlocks=Deadlocks(count=0, source="log"),
)
LOST = Incomplete(task="load-1/7", activity="a-7", status="queued")


def outcomes(measurement: Measurement, slo: Slo | None = None) -> list[ThresholdOutcome]:
    return [objective.outcome for objective in evaluate(slo or Slo(), measurement).objectives]


def test_a_good_run_meets_every_level() -> None:
    report = evaluate(Slo(), GOOD)
    assert (report.outcome, report.exit_code, report.breaches) == (ThresholdOutcome.MET, 0, ())
    assert [objective.measured for objective in report.objectives] == [95.0, 195.0, 199.0, 0.0, 1.0, 0, 0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("enqueue p95", {"enqueue_ms": (*GOOD.enqueue_ms[:94], *[1001.0] * 6)}),
        ("end-to-end p95", {"end_to_end_ms": (*GOOD.end_to_end_ms[:94], *[5001.0] * 6)}),
        ("end-to-end p99", {"end_to_end_ms": (*GOOD.end_to_end_ms[:97], *[math.inf] * 3)}),
        ("error ratio", {"attempted": 102}),
        ("achieved rate / planned rate", {"planned": 126.0}),
        ("not COMPLETE 20 s after the end", {"incomplete": (LOST,)}),
        ("deadlocks in the database", {"deadlocks": Deadlocks(count=1, source="log")}),
    ],
)
def test_each_level_can_be_the_one_that_is_breached(name: str, change: dict[str, object]) -> None:
    report = evaluate(Slo(), replace(GOOD, **change))  # type: ignore[arg-type]  # the fields are of many types
    assert [objective.name for objective in report.breaches] == [name]
    assert (report.outcome, report.exit_code) == (ThresholdOutcome.BREACHED, 1)


@pytest.mark.parametrize(
    "slo",
    [
        Slo(enqueue_p95_ms=95.0, end_to_end_p95_ms=195.0, rate_ratio=1.0, error_ratio=0.0),
        Slo(minimum_tasks=100),
    ],
)
def test_a_level_that_is_just_kept_is_met(slo: Slo) -> None:
    assert evaluate(slo, GOOD).exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"attempted": 0, "enqueue_ms": (), "end_to_end_ms": ()},
        {"planned": 19.0},
        {"problems": ("load-1.jsonl:3 is cut off",)},
    ],
    ids=["nothing attempted", "too little planned", "evidence with holes"],
)
def test_a_run_that_proves_nothing_is_not_measurable(change: dict[str, object]) -> None:
    measurement = replace(GOOD, **change)  # type: ignore[arg-type]  # the fields are of many types
    assert outcomes(measurement) == [*[ThresholdOutcome.NOT_MEASURABLE] * 6, ThresholdOutcome.MET]
    assert evaluate(Slo(), measurement).exit_code == 2


def test_a_run_whose_attempts_all_fail_has_no_latencies_and_is_breached() -> None:
    nothing = replace(GOOD, enqueue_ms=(), end_to_end_ms=())
    assert outcomes(nothing) == [
        ThresholdOutcome.NOT_MEASURABLE,
        ThresholdOutcome.NOT_MEASURABLE,
        ThresholdOutcome.NOT_MEASURABLE,
        ThresholdOutcome.BREACHED,
        ThresholdOutcome.BREACHED,
        ThresholdOutcome.MET,
        ThresholdOutcome.MET,
    ]
    assert evaluate(Slo(), nothing).exit_code == 1


def test_a_task_that_never_came_is_json_without_infinity() -> None:
    report = evaluate(Slo(), replace(GOOD, end_to_end_ms=(math.inf,) * 100))
    assert [objective.name for objective in report.breaches] == ["end-to-end p95", "end-to-end p99"]
    for objective in report.breaches:
        assert objective.to_json()["measured"] == "never"
        json.dumps(objective.to_json(), allow_nan=False)


def test_a_stall_that_is_too_short_for_the_p95_breaches_the_p99() -> None:
    """Of 800 tasks in 20 s, a stall of 1.3 s delays 52; 36 of these wait longer than 400 ms."""
    stalled = tuple(sorted([*(50.0 for _ in range(748)), *(1300 - 25.0 * n for n in range(52))]))
    measurement = replace(GOOD, planned=800, attempted=800, enqueue_ms=(5.0,) * 800, end_to_end_ms=stalled)
    report = evaluate(Slo(end_to_end_p95_ms=400), measurement)
    assert [objective.name for objective in report.breaches] == ["end-to-end p99"]
    assert evaluate(Slo(end_to_end_p95_ms=400, end_to_end_p99_ms=2000), measurement).exit_code == 0


def test_levels_are_overridden_by_name() -> None:
    slo = Slo().with_overrides(["enqueue_p95_ms=1.5", "rate_ratio=0.9"])
    assert slo == Slo(enqueue_p95_ms=1.5, rate_ratio=0.9)


@pytest.mark.parametrize(
    "text",
    [
        "speed=3",
        "error_ratio",
        "error_ratio=much",
        "error_ratio=1.1",
        "drain_seconds=-1",
        "drain_seconds=inf",
    ],
)
def test_a_wrong_level_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Slo().with_overrides([text])
    assert text.partition("=")[0] in str(refused.value)
    assert "Give " in str(refused.value)
