"""Arrivals are a plan: seeded, independent of the system, and as many as promised."""

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals import Arrivals, Burst, planned, start_of

BURSTS = st.builds(
    lambda every, share, factor: Burst(every=every, length=every * share, factor=factor),
    st.floats(1, 30),
    st.floats(0.05, 0.95),
    st.floats(1, 20),
)
ARRIVALS = st.builds(
    Arrivals, rate=st.floats(0.1, 50), burst=st.none() | BURSTS, pacing=st.sampled_from(["even", "poisson"])
)


def until(arrivals: Arrivals, end: float, *, seed: int = 1, user: int = 0) -> list[float]:
    return list(takewhile(lambda moment: moment < end, arrivals.times(seed=seed, user=user)))


@given(ARRIVALS, st.floats(0, 200))
def test_the_time_of_a_count_is_when_that_many_are_expected(arrivals: Arrivals, count: float) -> None:
    assert arrivals.expected(arrivals.time_of(count)) == pytest.approx(count, rel=1e-6, abs=1e-6)


@given(ARRIVALS, st.integers(), st.integers(0, 1000))
def test_times_only_grow_and_the_same_seed_repeats_them(arrivals: Arrivals, seed: int, user: int) -> None:
    first = until(arrivals, 5, seed=seed, user=user)
    assert first == until(arrivals, 5, seed=seed, user=user)
    assert first == sorted(first)
    assert all(moment >= 0 for moment in first)


@given(st.floats(0.1, 50), st.none() | BURSTS, st.floats(0, 40))
def test_even_arrivals_are_the_expected_number_give_or_take_one(
    rate: float, burst: Burst | None, end: float
) -> None:
    arrivals = Arrivals(rate=rate, burst=burst)
    assert abs(len(until(arrivals, end)) - arrivals.expected(end)) <= 1 + 1e-6


def test_poisson_arrivals_are_about_the_expected_number() -> None:
    counts = [len(until(Arrivals(rate=5, pacing="poisson"), 20, user=user)) for user in range(40)]
    assert sum(counts) == pytest.approx(40 * 100, rel=0.05)
    assert len(set(counts)) > 10, "as many as that are not all alike"


def test_users_do_not_arrive_in_step() -> None:
    firsts = {next(Arrivals(rate=2).times(seed=1, user=user)) for user in range(20)}
    assert len(firsts) == 20


def test_a_burst_has_the_number_of_tasks_that_it_states() -> None:
    arrivals = Arrivals(rate=10, burst=Burst(every=10, length=2, factor=5))
    moments = until(arrivals, 10)
    assert sum(moment < 2 for moment in moments) == pytest.approx(100, abs=1)
    assert sum(moment >= 2 for moment in moments) == pytest.approx(80, abs=1)


@pytest.mark.parametrize(
    ("user", "spawn_rate", "start"), [(0, 1, 0.0), (1, 0.5, 2.0), (9, 10, 0.0), (10, 10, 1.0), (3, 2.5, 0.8)]
)
def test_users_start_in_batches_as_locust_spawns_them(user: int, spawn_rate: float, start: float) -> None:
    assert start_of(user, spawn_rate) == pytest.approx(start)


def test_the_plan_counts_each_user_from_its_start() -> None:
    arrivals = Arrivals(rate=2)
    assert planned(arrivals, users=10, spawn_rate=10, duration=5) == pytest.approx(100)
    assert planned(arrivals, users=3, spawn_rate=1, duration=5) == pytest.approx(2 * (5 + 4 + 3))
    assert planned(arrivals, users=10, spawn_rate=1, duration=2) == pytest.approx(2 * (2 + 1))
