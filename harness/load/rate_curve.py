"""Latency by offered rate: where a ramp of steps breaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.load.load_time import latency_text
from harness.report.frame import LEFT, RIGHT, picture
from harness.report.scales import Scale, number_text, ticks
from harness.report.svg import path, tag

LEAST_POINTS = 3
_HEIGHT = 220.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RatePoint:
    """One stage: rates per second, and the quantiles of its latencies to the end of their bucket.

    `constant` says whether the whole stage has one rate.
    """

    text: str
    constant: bool
    begin: float
    offered: float
    completed: float
    failed: int
    p50: float | None
    p99: float | None
    never: int


def rate_curve(stages: Sequence[RatePoint]) -> Markup | None:
    """p50 and p99 by offered rate; None if there are fewer than `LEAST_POINTS` constant stages with different rates."""
    points = sorted(
        (one for one in stages if one.constant and one.p99 is not None), key=lambda one: one.offered
    )
    finite = [v for one in points for v in (one.p50, one.p99) if v is not None and math.isfinite(v)]
    if len({round(one.offered, 1) for one in points}) < LEAST_POINTS or not finite:
        return None
    x = Scale(low=0, high=points[-1].offered * 1.05, start=LEFT, stop=RIGHT)
    low, high = math.log10(min(finite)), math.log10(max(finite))
    y = Scale(low=low - 0.05, high=max(high, low + 0.5) + 0.15, start=_HEIGHT - 28, stop=12)
    parts: list[Markup] = []
    for value in ticks(x.high, 10):
        parts.append(tag("path", d=path(("M", x(value), 12), ("L", x(value), _HEIGHT - 28)), class_="grid"))
        label = f"{number_text(value)}/s"
        parts.append(tag("text", label, x=x(value), y=_HEIGHT - 10, class_="tick mid"))
    for power in range(-4, 6):
        for digit in (1, 3):
            value = digit * 10.0**power
            if y.low <= math.log10(value) <= y.high:
                at = y(math.log10(value))
                parts.append(tag("path", d=path(("M", LEFT, at), ("L", RIGHT, at)), class_="grid"))
                parts.append(tag("text", latency_text(value), x=LEFT - 10, y=at + 4, class_="tick end"))
    for number, name in enumerate(("p50", "p99")):
        parts.append(_line(name, number, points, x, y))
    return picture(
        _HEIGHT, "Latency by offered rate", "The p50 and the p99 of each stage by its offered rate.", *parts
    )


def _line(name: str, number: int, points: Sequence[RatePoint], x: Scale, y: Scale) -> Markup:
    steps: list[tuple[str, float, float]] = []
    dots: list[Markup] = []
    for one in points:
        value = getattr(one, name)
        never = math.isinf(value)
        at = (x(one.offered), y.stop if never else y(math.log10(value)))
        steps.append(("L" if steps else "M", *at))
        text = f"{one.text}: {name} up to {latency_text(value)} at {number_text(one.offered)}/s"
        kind = "point never" if never else "point"
        dots.append(tag("circle", tag("title", text), cx=at[0], cy=at[1], r=4, class_=kind))
    label = tag("text", name, x=steps[-1][1] - 6, y=steps[-1][2] - 8, class_="strong end")
    return tag("g", tag("path", d=path(*steps), class_="curve"), *dots, label, class_=f"c{number}")
