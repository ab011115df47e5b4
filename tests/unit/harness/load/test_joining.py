"""Processes that join a load: each arrival is sent once, and each process has an equal part of the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.arriving import Arriving, Stopped
from harness.load.joining import Join, from_second
from harness.load.schedule import LoadSchedule, PlannedArrival
from harness.load.stages import hold

SCHEDULE = LoadSchedule(stages=hold(100, 30))


def sent(begun: int, joins: Sequence[Join], process: int) -> list[PlannedArrival]:
    """What a process sends: those after the first `begun` join one after the other."""
    later = joins[max(0, process - begun + 1) :]
    own = joins[process - begun] if process >= begun else None
    arrivals = (
        SCHEDULE.arrivals(process, begun) if own is None else from_second(SCHEDULE.arrivals(), own.since)
    )
    return [
        arrival
        for arrival in arrivals
        if (own is None or own.claims(arrival)) and not any(join.claims(arrival) for join in later)
    ]


@given(st.integers(1, 3), st.lists(st.floats(0, 30), max_size=3).map(sorted))
def test_each_arrival_is_sent_by_one_process(begun: int, seconds: list[float]) -> None:
    joins = [Join(since, begun + number + 1) for number, since in enumerate(seconds)]
    processes = [sent(begun, joins, process) for process in range(begun + len(joins))]
    assert sorted(arrival.number for one in processes for arrival in one) == list(range(_number()))


def test_all_processes_have_equal_parts_after_a_join() -> None:
    joins = [Join(0.0, 3), Join(10.0, 4)]
    parts = Counter[int]()
    for process in range(4):
        parts[process] = sum(1 for one in sent(2, joins, process) if one.intended >= 10)
    mean = sum(parts.values()) / 4
    assert all(abs(part - mean) < 4 * math.sqrt(mean) for part in parts.values())


def test_a_process_joins_at_the_time_of_the_load(eventually: Callable[..., object]) -> None:
    """It is at second 29.9 of the load, and has a part from second 29.95 on."""
    arriving, join = Arriving(SCHEDULE.arrivals(), lambda _: "Chat"), Join(29.95, 2)
    arriving.pass_over(29.0)
    arriving.start(29.9, join)
    eventually(lambda: arriving.exhausted)
    arriving.stop()
    found = [taken.arrival for taken in arriving.never_sent()]
    assert found == [one for one in SCHEDULE.arrivals() if join.claims(one)] != []


def test_what_a_process_gives_up_too_late_is_known(eventually: Callable[..., object]) -> None:
    arriving = Arriving(LoadSchedule(stages=hold(1000, 0.01), pacing="even").arrivals(), lambda _: "Chat")
    assert arriving.give_up(Join(0.005, 2))
    arriving.start()
    eventually(lambda: arriving.exhausted)
    assert arriving.due == sum(
        not Join(0.005, 2).claims(PlannedArrival(n, 0.001 * n + 0.0005, 0)) for n in range(10)
    )
    assert not arriving.give_up(Join(0.009, 3))


def test_an_arrival_that_a_user_gives_back_goes_to_another_one() -> None:
    arriving = Arriving(iter([PlannedArrival(0, 0.0, 0)]), lambda _: "Chat")
    arriving.start()
    taken = arriving.take("Chat")
    arriving.give_back("Chat", taken)
    assert arriving.waiting == 1
    assert arriving.take("Chat").arrival == taken.arrival
    arriving.stop()
    with pytest.raises(Stopped):
        arriving.take("Chat")


def _number() -> int:
    return sum(1 for _ in SCHEDULE.arrivals())
