"""Stages: how many arrivals until when, the inverse of that, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.load.durations import duration_text, seconds_of
from harness.load.stages import (
    Stage,
    Stages,
    burst,
    diurnal,
    endless,
    flattened,
    hold,
    ramp,
    repeat,
    replay,
    spike,
    steps,
)

WRONG: Any = "wrong"
HALF: Any = 1.5
RATES = st.floats(0.01, 5000) | st.integers(1, 5000)
SECONDS = st.floats(0.1, 100_000)
LENGTHS = st.none() | SECONDS
STAGES: st.SearchStrategy[Stage] = st.one_of(
    st.builds(hold, RATES, LENGTHS),
    st.builds(spike, RATES, SECONDS),
    st.builds(ramp, RATES | st.just(0), RATES | st.just(0), SECONDS),
    st.builds(
        lambda rate, peak, length, cycle, share: burst(rate, peak, length, every=cycle, length=cycle * share),
        RATES | st.just(0),
        RATES,
        LENGTHS,
        st.floats(0.5, 1000),
        st.floats(0.01, 0.99),
    ),
    st.builds(
        lambda low, more, length, day: diurnal(low, low + more, length, period=day),
        RATES | st.just(0),
        RATES,
        LENGTHS,
        st.floats(1, 100_000),
    ),
)


@given(STAGES, st.floats(0, 1))
def test_the_time_of_a_number_is_when_that_many_are_expected(stage: Stage, share: float) -> None:
    number = share * min(stage.total, 1e6)
    moment = stage.time_of(number)
    assert 0 <= moment <= (stage.seconds or math.inf)
    assert stage.expected(moment) == pytest.approx(number, rel=1e-6, abs=1e-3)


@example(ramp(0, 0.5, 3.0), [0.0, 5e-324])  # its product with the slope is 0
@given(STAGES, st.lists(st.floats(0, 1), min_size=2))
def test_both_functions_only_grow(stage: Stage, shares: list[float]) -> None:
    numbers = [share * min(stage.total, 1e6) for share in sorted(shares)]
    moments = [stage.time_of(number) for number in numbers]
    assert all(a <= b + 1e-6 for a, b in pairwise(moments))
    reached = [stage.expected(moment) for moment in sorted(moments)]
    assert all(a <= b + 1e-6 * max(b, 1) for a, b in pairwise(reached))


@given(STAGES)
def test_nothing_arrives_outside_of_a_stage(stage: Stage) -> None:
    assert stage.expected(-1) == stage.expected(0) == stage.time_of(0) == 0
    if stage.seconds is not None:
        assert stage.expected(stage.seconds * 2) == stage.total


@pytest.mark.parametrize(
    ("stage", "total"),
    [
        (hold(20, "1m"), 1200),
        (spike(600, "10s"), 6000),
        (ramp(20, 200, "5m"), 110 * 300),
        (ramp(200, 0, "10s"), 1000),
        (burst(20, 200, "40s", every="10s", length="2s"), 4 * (2 * 200 + 8 * 20)),
        (diurnal(0, 100, "24h"), 50 * 86_400),
        (hold(0, "10s"), 0),
    ],
)
def test_the_number_of_arrivals_of_a_stage_is_as_stated(stage: Stage, total: float) -> None:
    assert stage.total == pytest.approx(total)


def test_a_day_begins_at_its_lowest_rate_and_is_highest_at_noon() -> None:
    day = diurnal(10, 100)
    per_minute = [day.expected((hour + 1 / 60) * 3600) - day.expected(hour * 3600) for hour in (0, 12, 24)]
    assert per_minute == pytest.approx([600, 6000, 600], rel=0.01)


def test_steps_are_constant_rates_one_above_the_other() -> None:
    assert [stage.text for stage in steps(20, 10, every="1m", number=3)] == [
        "hold 20/s for 1m",
        "hold 30/s for 1m",
        "hold 40/s for 1m",
    ]
    assert next(iter(steps(20, 20, every="1m"))).total == 1200


def test_lists_of_stages_may_contain_lists() -> None:
    plan: Stages = [hold(1, 1), repeat([ramp(0, 2, 1), hold(2, 1)], times=2), (spike(9, 1),)]
    assert [round(stage.total) for stage in flattened(plan)] == [1, 1, 2, 1, 2, 9]
    assert not endless(plan)
    assert endless([hold(1, 1), hold(1)])
    assert endless(steps(1, 1, every=1))
    assert endless(repeat(hold(1, 1)))


def test_a_plan_of_a_replay_reads_its_trace_once(tmp_path: Path) -> None:
    """The number of users at the beginning is found at 200 places; a long trace took minutes before the load began."""
    trace = tmp_path / "trace.csv"
    trace.write_text("offset_seconds\n" + "\n".join(str(second) for second in range(100)), "utf-8")
    stage = replay(trace, speed=2)
    assert stage.expected(1.0) == 3
    trace.unlink()
    assert [stage.expected(at) for at in (0.0, 0.4, 0.5, 49.0, 49.4, 49.5)] == [1, 1, 2, 99, 99, 100]
    assert [stage.time_of(number) for number in (0, 1, 1.5, 100, 101)] == [0.0, 0.0, 0.5, 49.5, 49.5]


def test_a_replay_has_the_number_and_the_length_of_its_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("offset_seconds,size\n1,10\n2,\n2,\n7,1\n")
    stage = replay(trace, speed=2)
    assert (stage.total, stage.seconds) == (4, 3.5)
    assert [stage.expected(moment) for moment in (0, 0.5, 1, 3.4, 3.5)] == [0, 1, 3, 3, 4]
    assert [stage.time_of(number) for number in (0, 1, 1.5, 3, 4)] == [0, 0.5, 1, 1, 3.5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: hold(-1, 1),
            "The rate of a hold cannot be -1; give a number of 0 or more arrivals a second.",
        ),
        (lambda: hold(0), "The rate of a hold cannot be 0; give a number above 0 arrivals a second."),
        (lambda: hold(math.nan, 1), "The rate of a hold cannot be nan"),
        (lambda: hold(WRONG, 1), "The rate of a hold cannot be 'wrong'"),
        (lambda: hold(True, 1), "The rate of a hold cannot be True"),
        (
            lambda: hold(1, "5 parsecs"),
            "The duration cannot be '5 parsecs'; give seconds above 0, or a text such as",
        ),
        (lambda: hold(1, 0), "The duration cannot be 0"),
        (lambda: ramp(1, math.inf, 1), "The last rate of the ramp cannot be inf"),
        (lambda: burst(1, 0), "The peak of the bursts cannot be 0"),
        (
            lambda: burst(1, 2, every="1s", length="1s"),
            "A burst of 1s does not end before the next one, 1s later",
        ),
        (lambda: diurnal(5, 4), "The lowest rate of a day, 5/s, is above the highest, 4/s; exchange them."),
        (lambda: steps(1, 0, every=1), "A step cannot be 0 arrivals a second"),
        (lambda: steps(5, -1, every=1), "The steps lead to a rate below 0; give a smaller number of steps."),
        (lambda: steps(5, 1, every=1, number=0), "The number of steps cannot be 0"),
        (lambda: repeat(hold(1)), "Stages without an end cannot be repeated; give each of them a duration."),
        (lambda: repeat(hold(0, 1)), "Stages without an arrival cannot be repeated"),
        (lambda: repeat(hold(1, 1), times=HALF), "The number of repetitions cannot be 1.5"),
        (lambda: endless([hold(1), hold(1)]), "The stage after number 1 never begins"),
        (lambda: list(flattened(WRONG)), "A load cannot have a stage 'wrong'"),
        (lambda: endless(WRONG), "A load cannot have a stage 'wrong'"),
        (lambda: replay("/no/such/trace.csv"), "cannot be read (No such file or directory); give a file."),
        (lambda: replay("trace.csv", speed=0), "The speed of a replay cannot be 0; give a number above 0"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_remedy(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m", 60),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("7", 7),
        ("1 m 5 s", 65),
    ],
)
def test_durations_are_seconds_or_text(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds_of(seconds) == seconds


@pytest.mark.parametrize("text", ["", "m", "1x", "1m!", "-1s", "1e3s", "nan", "inf"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(text)


@given(st.floats(0.001, 10_000_000))
def test_the_text_of_a_duration_can_be_read_again(seconds: float) -> None:
    assert seconds_of(duration_text(seconds)) == pytest.approx(seconds, rel=0.05)
