"""Latencies: three digits, nothing lost, and several processes are as good as one."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.history.figures import nearest_rank
from harness.load.histogram import LatencyHistogram

TIMES = st.floats(1e-6, 3600) | st.floats(0, 1e-3) | st.just(math.inf) | st.floats(3601, 1e6)


@given(st.lists(TIMES, min_size=1, max_size=60), st.sampled_from([0, 1, 50, 90, 99, 99.9, 99.99, 100]))
def test_a_quantile_is_that_of_the_values_to_three_digits(values: list[float], percentile: float) -> None:
    found = LatencyHistogram.of(values).quantile(percentile)
    wanted = nearest_rank(sorted(values), percentile / 100)
    assert found is not None
    if wanted > 3600 and math.isfinite(wanted):
        assert 3600 < found <= max(one for one in values if math.isfinite(one)) + 1e-6
    else:
        assert found == pytest.approx(wanted, rel=1e-3, abs=2e-6)


@given(st.lists(st.lists(TIMES, max_size=20), max_size=5))
def test_merged_histograms_are_the_histogram_of_all_values(parts: list[list[float]]) -> None:
    merged = LatencyHistogram()
    for part in parts:
        message = json.loads(json.dumps(LatencyHistogram.of(part).to_value(), allow_nan=False))
        merged.merge(LatencyHistogram.from_value(message))
    assert merged.to_value() == LatencyHistogram.of(value for part in parts for value in part).to_value()


def test_a_rank_is_exact_where_a_float_is_not() -> None:
    values = LatencyHistogram.of([0.001] * 999 + [1.0])
    assert 99.9 / 100 * 1000 > 999, "a float would ask for the value after the right one"
    assert values.quantile(99.9) == pytest.approx(0.001)
    assert values.quantile(99.91) == pytest.approx(1, rel=1e-3)


def test_what_never_completed_is_at_the_end() -> None:
    values = LatencyHistogram.of([0.1, 0.2, 0.3])
    values.record(math.inf)
    assert (values.count, values.completed, values.never) == (4, 3, 1)
    assert values.quantiles([75, 76]) == [pytest.approx(0.3), math.inf]
    assert (values.mean, values.most) == (math.inf, math.inf)
    assert values.least == pytest.approx(0.1)


def test_values_out_of_range_are_counted() -> None:
    values = LatencyHistogram.of([-0.5, 0.0, 7200.0, 10_000.0])
    assert (values.count, values.below, values.above) == (4, 1, 2)
    assert (values.least, values.most, values.mean) == (0.0, 10_000.0, 4300.0)
    assert values.quantiles([50, 100]) == [0.0, 10_000.0]


def test_nothing_has_no_quantile() -> None:
    values = LatencyHistogram()
    assert (values.quantile(50), values.mean, values.least, values.most, values.count) == (None,) * 4 + (0,)


@pytest.mark.parametrize("percentile", [-1, 100.1, math.nan])
def test_there_is_no_percentile_outside_of_0_to_100(percentile: float) -> None:
    with pytest.raises(ValueError, match="a percentile is not from 0 to 100"):
        LatencyHistogram().quantile(percentile)


def test_what_is_no_number_is_no_latency() -> None:
    with pytest.raises(ValueError, match="not a number"):
        LatencyHistogram().record(math.nan)


def test_a_message_of_100000_values_is_small() -> None:
    values = LatencyHistogram.of(0.001 * 1.0001**index for index in range(100_000))
    assert len(json.dumps(values.to_value())) < 30_000


@pytest.mark.parametrize("broken", [{}, {"hdr": "?"}, {"hdr": "aGVsbG8gd29ybGQ="}, {"hdr": None}])
def test_a_broken_message_is_refused_in_one_sentence(broken: dict[str, object]) -> None:
    value = {**LatencyHistogram.of([1.0]).to_value(), **broken}
    if not broken:
        del value["hdr"]
    with pytest.raises(HarnessError, match="run the same version in all load processes"):
        LatencyHistogram.from_value(value)
