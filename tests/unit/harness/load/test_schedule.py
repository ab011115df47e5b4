"""The schedule: seeded, shared over processes without a difference, and as many arrivals as planned."""

from __future__ import annotations

import math
import tracemalloc
from itertools import islice, takewhile
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.load.schedule import LoadSchedule, Pacing, PlannedArrival
from harness.load.stages import Stages, burst, diurnal, hold, ramp, repeat, replay, spike, steps
from harness.load.traces import Size

PLANS: list[Stages] = [
    [hold(20, "10s"), ramp(20, 200, "10s"), spike(600, "1s"), hold(0, "5s"), hold(3, "5s")],
    repeat([burst(2, 50, "20s"), diurnal(0, 40, "10s", period="10s")]),
    steps(5, 5, every="2s"),
    hold(1000),
]


def first(schedule: LoadSchedule, number: int = 300) -> list[PlannedArrival]:
    return list(islice(schedule.arrivals(), number))


@given(st.sampled_from(PLANS), st.integers(), st.sampled_from(get_args(Pacing)), st.integers(1, 7))
def test_all_processes_together_have_the_arrivals_of_one(
    plan: Stages, seed: int, pacing: Pacing, shards: int
) -> None:
    schedule = LoadSchedule(stages=plan, seed=seed, pacing=pacing)
    whole = first(schedule)
    parts = [
        takewhile(lambda one: one.number < len(whole), schedule.arrivals(shard, shards))
        for shard in range(shards)
    ]
    assert sorted(arrival for part in parts for arrival in part) == whole
    assert [arrival.number for arrival in whole] == list(range(len(whole)))


@given(st.sampled_from(PLANS), st.integers(), st.sampled_from(get_args(Pacing)))
def test_times_only_grow_and_lie_in_their_stage(plan: Stages, seed: int, pacing: Pacing) -> None:
    schedule = LoadSchedule(stages=plan, seed=seed, pacing=pacing)
    found = first(schedule)
    assert found == first(schedule)
    assert [one.intended for one in found] == sorted(one.intended for one in found)
    placed = list(islice(schedule.placed(), found[-1].stage + 1))
    assert all(placed[one.stage].begin <= one.intended <= placed[one.stage].end for one in found)


@pytest.mark.parametrize("plan", PLANS)
def test_even_arrivals_are_the_planned_number_give_or_take_one(plan: Stages) -> None:
    schedule = LoadSchedule(stages=plan, pacing="even")
    for until in (0.0, 0.7, 5.0, 13.3, 21.0):
        found = sum(1 for _ in takewhile(lambda one: one.intended <= until, schedule.arrivals()))  # noqa: B023
        assert abs(found - schedule.planned(until)) <= 1


def test_even_arrivals_of_whole_stages_are_exactly_as_many_as_planned() -> None:
    schedule = LoadSchedule(stages=[hold(20, "1m"), ramp(20, 200, "30s"), hold(0.1, "10s")], pacing="even")
    assert sum(1 for _ in schedule.arrivals()) == schedule.planned(math.inf) == 1200 + 3300 + 1


def test_poisson_arrivals_are_independent_of_each_other() -> None:
    """In each second the variance of the number is its mean, and another seed has other times."""
    times = [one.intended for one in LoadSchedule(stages=hold(20, 2000), seed=1).arrivals()]
    counts = [0] * 2000
    for moment in times:
        counts[min(int(moment), 1999)] += 1
    mean = sum(counts) / len(counts)
    variance = sum((one - mean) ** 2 for one in counts) / len(counts)
    assert mean == pytest.approx(20, rel=0.03)
    assert variance == pytest.approx(20, rel=0.15)
    assert times[:10] != [one.intended for one in first(LoadSchedule(stages=hold(20, 2000), seed=2), 10)]


def test_the_memory_of_a_schedule_does_not_grow() -> None:
    tracemalloc.start()
    try:
        assert (
            sum(1 for _ in islice(LoadSchedule(stages=steps(5, 5, every="1s")).arrivals(), 20_000)) == 20_000
        )
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_replay_keeps_its_times_its_sizes_and_its_tasks(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("offset_seconds,size,task\n0.5,10,ask\n3,,\n")
    schedule = LoadSchedule(stages=[hold(1, 4), replay(trace, speed=0.5), hold(1, 1)], pacing="even")
    assert list(schedule.arrivals())[4:] == [
        PlannedArrival(4, 5.0, 1, Size(10), "ask"),
        PlannedArrival(5, 10.0, 1),
        PlannedArrival(6, 10.5, 2),
    ]
    assert schedule.planned(5.0) == 5
    assert schedule.seconds == 11


def test_each_stage_begins_at_the_end_of_the_one_before() -> None:
    schedule = LoadSchedule(stages=[hold(1, 10), hold(2, 10)])
    assert [(one.place, one.begin, one.end) for one in schedule.placed()] == [(0, 0, 10), (1, 10, 20)]
    assert (schedule.seconds, LoadSchedule(stages=hold(1)).seconds) == (20, None)


@pytest.mark.parametrize(
    ("stages", "options", "message"),
    [
        ([], {}, "A load needs at least one stage"),
        (
            hold(1),
            {"pacing": "random"},
            "The pacing cannot be 'random'; choose one of 'even', 'poisson', ",
        ),
        ([hold(1), hold(1, 1)], {}, "never begins"),
    ],
)
def test_a_schedule_without_sense_is_refused(
    stages: Stages, options: dict[str, Pacing], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        LoadSchedule(stages=stages, **options)  # type: ignore[arg-type]  # one of them is wrong


def test_a_process_that_does_not_exist_has_no_schedule() -> None:
    with pytest.raises(UsageError, match="There is no process 2 of 2; count from 0 to 1"):
        LoadSchedule(stages=hold(1)).arrivals(2, 2)
