"""What one process of Locust sends of a load: every planned arrival, also the last one and the canary's."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.load.figures import Figures
from harness.load.locust_test import Assignment, Canaries, LoadPlan, LoadTest
from harness.load.schedule import LoadSchedule, PlannedArrival
from harness.load.stages import Stage, hold, replay
from harness.load.task_log import TaskLog

PART = Assignment(run="load-1", shape=None, seconds=None)


def plan_of(stage: Stage) -> LoadPlan:
    schedule = LoadSchedule(stages=stage, pacing="even")
    return LoadPlan(schedule=schedule, seconds=schedule.seconds)


@pytest.mark.parametrize("offsets", [["0"], ["0", "0.5", "1.0"], ["0", "0.7", "0.7"]])
def test_the_last_arrival_of_a_replay_is_sent(offsets: list[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["offset_seconds", *offsets]), "utf-8")
    plan = plan_of(replay(trace))
    assert plan.seconds is not None
    assert len(list(plan.arrivals(PART))) == plan.planned(plan.seconds) == len(offsets)


def test_an_arrival_after_the_end_of_the_load_is_not_sent() -> None:
    schedule = LoadSchedule(stages=hold(2), pacing="even")
    assert len(list(LoadPlan(schedule=schedule, seconds=3.0).arrivals(PART))) == 6


@pytest.mark.parametrize(("stage", "size"), [(None, 7), (hold(0, 1), None)])
def test_a_canary_has_the_first_arrival_of_the_load(
    stage: Stage | None, size: int | None, tmp_path: Path
) -> None:
    """A user reads `self.arrival.size` of a replay, also in the preflight."""
    trace = tmp_path / "trace.csv"
    trace.write_text("offset_seconds,size\n0,7\n1,8\n", "utf-8")
    canaries = Canaries(pytest.fail, None, plan_of(stage or replay(trace)), "load-1")  # type: ignore[arg-type]  # neither a client nor options are asked
    assert canaries.is_open
    arrival = canaries.take("Chat").arrival
    assert (arrival.size.input if arrival.size else None) == size
    assert not Canaries(pytest.fail, None, LoadPlan(schedule=None, seconds=None), "load-1").is_open  # type: ignore[arg-type]  # as above


class Silent:
    """Producers without servers."""

    busy = 0

    def __init__(self) -> None:
        self.figures = Figures()
        self.began = 0.0

    def note_end(self) -> None: ...

    def drop(self, intended: float, lateness: float) -> None:
        self.figures.accounting.notice(lateness)
        self.figures.accounting.drop()

    def drain(self, within: float) -> None: ...

    def close(self) -> None: ...


class BrokenPlan(LoadPlan):
    def arrivals(self, part: Assignment) -> Iterator[PlannedArrival]:
        yield from islice(super().arrivals(part), 2)
        raise OSError("the trace is gone")


@pytest.mark.parametrize(
    ("plan", "begins", "gaps"),
    [
        (LoadPlan, True, []),
        (LoadPlan, False, ["the arrivals of the load process 2 of 2 never began"]),
        (BrokenPlan, True, ["the arrivals of the load process 2 of 2 broke off: OSError: the trace is gone"]),
    ],
)
def test_arrivals_that_are_missing_are_a_gap_in_the_figures(
    plan: type[LoadPlan], begins: bool, gaps: list[str]
) -> None:
    schedule = LoadSchedule(stages=hold(1000, 0.01), pacing="even")
    part = replace(PART, shard=1, shards=2)
    options: Any = SimpleNamespace(producers=1)
    target: Any = SimpleNamespace(client=pytest.fail)
    nothing: Any = pytest.fail
    test = LoadTest(
        options, target, plan(schedule=schedule, seconds=0.01), part, log=TaskLog(None), report=nothing
    )
    test.producers = Silent()  # type: ignore[assignment]  # it has what the end of a load needs
    if begins:
        test.begin({})
        while not test.arriving.exhausted:
            time.sleep(0.001)
    assert test.finish(1.0).gaps == gaps


def test_no_collection_of_what_was_there_before_the_load_delays_its_arrivals() -> None:
    options: Any = SimpleNamespace(producers=1)
    target: Any = SimpleNamespace(client=pytest.fail)
    plan = plan_of(hold(1, 5))
    load = LoadTest(options, target, plan, PART, log=TaskLog(None), report=lambda **_: None)
    try:
        load.begin({"Chat": 1.0})
        assert gc.get_freeze_count() > 10_000
    finally:
        load.stop()
    assert gc.get_freeze_count() == 0
