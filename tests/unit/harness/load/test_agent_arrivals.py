"""Arrival patterns: the burstiness of the published traces, at any rate, as a function of the seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from statistics import fmean, median, pstdev

import pytest

from harness.load.agents import ARRIVALS, ArrivalPattern
from harness.load.agents.__main__ import main
from harness.load.schedule import LoadSchedule
from harness.load.stages import hold


def variation(times: list[float]) -> float:
    distances = [second - first for first, second in pairwise(times)]
    return pstdev(distances) / fmean(distances)


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrivals_rise_at_the_given_rate_and_depend_on_the_seed_alone(name: str) -> None:
    times = list(islice(ARRIVALS[name].times(20.0, 1), 40_000))
    assert all(first <= second for first, second in pairwise(times))
    assert len(times) / times[-1] == pytest.approx(20.0, rel=0.1)
    assert times[:100] == list(islice(ARRIVALS[name].times(20.0, 1), 100))
    assert times[:100] != list(islice(ARRIVALS[name].times(20.0, 2), 100))


@pytest.mark.parametrize(("name", "expected"), [("azure-chat", 1.09), ("burstgpt", 2.0)])
def test_the_coefficient_of_variation_is_that_of_the_trace(name: str, expected: float) -> None:
    # The standard error with 40,000 distances is below 2 %.
    assert variation(list(islice(ARRIVALS[name].times(5.6, 1), 40_000))) == pytest.approx(expected, rel=0.06)


def test_the_fullest_second_of_the_code_trace_is_that_of_azure() -> None:
    # One trace of 57 minutes has one fullest second. The median over seven has a standard error of 3 %.
    fullest = [
        max(Counter(map(int, islice(ARRIVALS["azure-code"].times(2.6, seed), 8819))).values())
        for seed in range(7)
    ]
    assert median(fullest) == pytest.approx(67, rel=0.1)


def test_distances_are_one_on_average_and_follow_the_times() -> None:
    pattern = ARRIVALS["azure-code"]
    distances = list(islice(pattern.distances(2.6, 3), 1000))
    assert sum(distances) / 2.6 == pytest.approx(list(islice(pattern.times(2.6, 3), 1000))[-1])


@pytest.mark.parametrize("wrong", [{"cv": 0}, {"peak": 0.5}, {"peak": 4, "on": 0.3}, {"peak": 2, "on": 0}])
def test_values_without_a_process_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give cv > 0"):
        ArrivalPattern(name="wrong", source="none", **wrong)


def test_the_command_prints_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "2", "arrivals", "azure-code", "--rate", "2.6", "--requests", "5"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "offset_seconds"
    assert [float(row) for row in rows] == pytest.approx(
        list(islice(ARRIVALS["azure-code"].times(2.6, 2), 5)), abs=1e-6
    )


def test_a_schedule_takes_a_pattern_as_its_pacing() -> None:
    schedule = LoadSchedule(stages=hold(2.6), pacing="azure-code", seed=3)
    intended = [arrival.intended for arrival in islice(schedule.arrivals(), 500)]
    assert intended == pytest.approx(list(islice(ARRIVALS["azure-code"].times(2.6, 3), 500)))


def test_a_pattern_follows_the_rate_of_the_stages() -> None:
    schedule = LoadSchedule(stages=[hold(10, "5m"), hold(100, "5m")], pacing="burstgpt", seed=3)
    counts = Counter(arrival.stage for arrival in schedule.arrivals())
    # The variance of a count is its mean times the squared coefficient of variation: 3.7 % and 1.2 %.
    assert counts[0] == pytest.approx(3000, rel=0.12)
    assert counts[1] == pytest.approx(30_000, rel=0.04)
