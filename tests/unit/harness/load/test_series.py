"""A load over time: bounded memory, and several processes are as good as one."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.load.series import MOST_SLICES, NEVER_BUCKET, LoadSeries, bucket_end, bucket_of

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 20_000),
        st.sampled_from(["count", "gauge", "latency"]),
        st.floats(0, 100) | st.just(math.inf),
    ),
    max_size=30,
)


def series(events: list[tuple[float, str, float]]) -> LoadSeries:
    found = LoadSeries()
    for second, kind, value in events:
        if kind == "count":
            found.count(second, "due")
        elif kind == "gauge":
            found.gauge(second, "depth", min(value, 100))
        else:
            found.latency(second, value)
    return found


@given(st.lists(EVENTS, max_size=4))
def test_the_series_of_all_processes_is_that_of_one(parts: list[list[tuple[float, str, float]]]) -> None:
    merged = LoadSeries()
    for part in parts:
        merged.merge(LoadSeries.from_value(json.loads(json.dumps(series(part).to_value(), allow_nan=False))))
    assert merged.to_value() == series([event for part in parts for event in part]).to_value()


def test_a_soak_of_a_week_takes_no_more_slices_than_a_short_test() -> None:
    found = LoadSeries()
    for minute in range(7 * 24 * 60):
        found.count(minute * 60, "due")
        found.gauge(minute * 60, "depth", minute)
    assert len(found.slices) <= MOST_SLICES
    assert sum(one.counts["due"] for one in found.slices.values()) == 7 * 24 * 60
    assert max(one.gauges["depth"] for one in found.slices.values()) == 7 * 24 * 60 - 1
    assert found.width == 512


@given(st.floats(0, 1e6))
def test_a_bucket_contains_its_latencies(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert seconds <= bucket_end(bucket) * (1 + 1e-12)
    assert bucket == 0 or bucket_end(bucket - 1) < seconds * (1 + 1e-12)


def test_what_never_completed_has_the_last_bucket() -> None:
    assert (bucket_of(math.inf), bucket_end(NEVER_BUCKET)) == (NEVER_BUCKET, math.inf)
    assert bucket_of(10 * 365 * 86_400) < NEVER_BUCKET


@pytest.mark.parametrize(
    "value", [{}, {"width": "x"}, {"width": 1, "slices": [{}]}, {"width": 1, "slices": 5}]
)
def test_a_broken_message_is_refused_in_one_sentence(value: dict[str, object]) -> None:
    with pytest.raises(HarnessError, match="run the same version in all load processes"):
        LoadSeries.from_value(value)
