"""From seconds and counts to pixels and text: a linear scale, round tick marks, readable numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

DASH = "—"  # a figure of a checker that did not run, or that had nothing to measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Maps `low..high` of the data to `start..stop` of the picture, both ends included."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The place of a value in pixels; a value beyond an end is placed beyond it."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.0
        return self.start + share * (self.stop - self.start)


def round_step(span: float, at_most: int) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that divides `span` into at most `at_most` parts."""
    rough = span / max(at_most, 1)
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))


def ticks(high: float, at_most: int = 10) -> list[float]:
    """Round marks from zero up to `high`."""
    if high <= 0:
        return [0.0]
    step = round_step(high, at_most)
    return [round(i * step, 10) for i in range(int(high / step + 1e-9) + 1)]


def seconds_text(value: float | None) -> str:
    """A length of time for people: `840 ms`, `2.41 s`, `48.0 s`, `3 min 20 s`; a dash for None."""
    if value is None:
        return DASH
    if abs(value) < 0.9995:
        return f"{value * 1000:.0f} ms"
    if abs(value) < 9.995:
        return f"{value:.2f} s"
    if abs(value) < 119.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s"


def number_text(value: float) -> str:
    """A number without needless digits: `12`, `0.5`, `1,200`."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.3g}"
