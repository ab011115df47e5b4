"""Distributions by quantiles: exact at the given points, and closed forms that agree with an integration."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.load.agents import Quantiles

POINTS = ((0.2, 0.1), (0.5, 2.0), (0.9, 30.0), (0.99, 113.0))
HEAVY = Quantiles(POINTS, tail=1.1, largest=5000.0)


def test_the_given_quantiles_are_exact_and_values_below_the_first_share_are_zero() -> None:
    assert [HEAVY.value(share) for share, _ in POINTS] == pytest.approx([value for _, value in POINTS])
    assert HEAVY.value(0.0) == HEAVY.value(0.199) == 0.0


def test_values_rise_with_the_share_up_to_the_largest() -> None:
    values = [HEAVY.value(step / 10_000) for step in range(10_000)]
    assert all(first <= second for first, second in pairwise(values))
    assert HEAVY.value(1 - 1e-12) == 5000.0


def test_beyond_the_last_point_the_tail_is_that_of_pareto() -> None:
    assert HEAVY.value(0.999) == pytest.approx(113 * 10 ** (1 / 1.1))


@pytest.mark.parametrize("bound", [0.0, 1.0, 30.0, 60.0, 113.0, 2000.0])
@pytest.mark.parametrize("tail", [0.9, 1.0, 1.1, 3.0])
def test_the_mass_above_a_bound_is_the_integral(bound: float, tail: float) -> None:
    quantiles = Quantiles(POINTS, tail=tail, largest=5000.0)
    # Substituting 1 - u = exp(-t) makes the integrand smooth where the values are largest.
    step, total = 0.0005, 0.0
    for number in range(60_000):
        remaining = 2.718281828459045 ** -(step * (number + 0.5))
        value = quantiles.value(1 - remaining)
        total += value * remaining * step if value >= bound else 0.0
    assert quantiles.mass_above(bound) == pytest.approx(total, rel=0.002)


def test_a_tail_of_one_without_a_largest_value_has_no_mean() -> None:
    assert Quantiles(POINTS, tail=1.0).mean() == float("inf")


def test_a_scaled_distribution_scales_all_of_it() -> None:
    scaled = HEAVY.scaled(0.01)
    assert scaled.value(0.97) == pytest.approx(HEAVY.value(0.97) / 100)
    assert scaled.mean() == pytest.approx(HEAVY.mean() / 100)
    assert scaled.largest == 50.0


@pytest.mark.parametrize(
    "points",
    [(), ((0.5, 1), (0.5, 2)), ((0.5, 2), (0.9, 1)), ((0.5, 0),), ((-0.1, 1),), ((0.5, 1), (1.0, 2))],
)
def test_points_that_are_no_quantiles_are_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="give"):
        Quantiles(points)
