"""Quantiles of latencies on a scale of nines, as HdrHistogram draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from markupsafe import Markup

from harness.history.figures import counted
from harness.load.histogram import LatencyHistogram
from harness.load.load_time import latency_text
from harness.report.frame import LEFT, RIGHT, picture
from harness.report.scales import Scale
from harness.report.svg import path, tag

_NINES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_HEIGHT = 260.0
_LEGEND = RIGHT - 216
_PLOT_END = _LEGEND - 16


def quantile_plot(title: str, curves: Mapping[str, LatencyHistogram]) -> Markup | None:
    """Latency by quantile, from the median to the last nines, a curve for each name; None without a finite value."""
    known = {name: one for name, one in curves.items() if one.completed}
    if not known:
        return None
    finite = [
        v for one in known.values() for v in one.quantiles((0, 100)) if v is not None and math.isfinite(v)
    ]
    for one in known.values():
        finite += [v for v in one.quantiles(_NINES) if v is not None and math.isfinite(v)]
    low, high = max(min(finite), 1e-4), max(max(finite), 1e-3)
    y = Scale(low=math.log10(low), high=math.log10(high * 1.05), start=_HEIGHT - 24, stop=12)
    nines = _nines(max(one.count for one in known.values()))
    x = Scale(low=0, high=max(_place(nines[-1]), 1), start=LEFT, stop=_PLOT_END)
    parts: list[Markup] = []
    for nine in nines:
        at = x(_place(nine))
        parts.append(tag("path", d=path(("M", at, 12), ("L", at, _HEIGHT - 24)), class_="grid"))
        parts.append(tag("text", f"{nine:g} %" if nine else "min", x=at, y=_HEIGHT - 8, class_="tick mid"))
    for power in range(-4, 6):
        if low <= (value := 10.0**power) <= high * 1.05:
            at = y(power)
            parts.append(tag("path", d=path(("M", LEFT, at), ("L", _PLOT_END, at)), class_="grid"))
            parts.append(tag("text", latency_text(value), x=LEFT - 10, y=at + 4, class_="tick end"))
    for index, (name, one) in enumerate(known.items()):
        parts.append(_curve(index, name, one, x, y))
    return picture(_HEIGHT, title, f"Quantiles of {', '.join(known)}.", *parts)


def _curve(index: int, name: str, one: LatencyHistogram, x: Scale, y: Scale) -> Markup:
    """A curve with its name at the right; it ends where what never completed begins."""
    end = _place(_nines(one.count)[-1])
    places = [end * i / 160 for i in range(161)]
    percentiles = [min(100 * (1 - 10.0**-place), 100.0) for place in places]
    points = [
        (x(min(place, x.high)), y(math.log10(max(value, 1e-4))))
        for place, value in zip(places, one.quantiles(percentiles), strict=True)
        if value is not None and math.isfinite(value)
    ]
    shown = {p: latency_text(v) for p, v in zip((50, 99, 99.9), one.quantiles((50, 99, 99.9)), strict=True)}
    text = ", ".join(f"p{p:g} {value}" for p, value in shown.items())
    steps = [("M" if i == 0 else "L", *point) for i, point in enumerate(points)]
    at = 18 + index * 32
    return tag(
        "g",
        tag("title", f"{name}: {counted(one.count, 'request')}, {text}, {one.never} never completed"),
        tag("path", d=path(*steps), class_="curve"),
        tag("path", d=path(("M", _LEGEND, at - 4), ("L", _LEGEND + 16, at - 4)), class_="curve"),
        tag("text", name if len(name) < 26 else f"{name[:24]}…", x=_LEGEND + 22, y=at, class_="strong"),
        tag("text", text, x=_LEGEND, y=at + 14, class_="tick"),
        class_=f"c{index % 6}",
    )


def _place(percentile: float) -> float:
    """The number of nines of a percentile: 90 is 1, 99 is 2."""
    return -math.log10(max(1 - percentile / 100, 1e-9))


def _nines(count: int) -> list[float]:
    """The labels of the scale that so many values can fill."""
    return [nine for nine in _NINES if nine < 90 or count * (1 - nine / 100) >= 0.99]
