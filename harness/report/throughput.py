"""Operations per second over time, in three strips. Each has its own scale, because submissions come in bursts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from harness.report.frame import LEFT, RIGHT, fault_bands, picture, time_axis, time_scale
from harness.report.picture_data import BarOutcome, PictureData
from harness.report.scales import Scale, number_text, round_step, seconds_text
from harness.report.svg import path, tag

STRIP = 56.0
GAP = 14.0
BINS = 100


def throughput(data: PictureData) -> Markup:
    """Tasks acknowledged, runs started and runs completed per second."""
    scale = time_scale(data.seconds)
    series = {
        "acknowledged": [bar.end for bar in data.submissions if bar.outcome is BarOutcome.OK],
        "started": [bar.start for bar in data.runs],
        "completed": [bar.end for bar in data.runs if bar.outcome is BarOutcome.OK],
    }
    width = round_step(data.seconds, BINS)
    bottom = len(series) * (STRIP + GAP)
    strips = [
        _strip(name, rates(times, data.seconds, width), width, scale, i * (STRIP + GAP) + GAP)
        for i, (name, times) in enumerate(series.items())
    ]
    return picture(
        bottom + 24,
        "Tasks per second",
        f"Counted in slices of {seconds_text(width)}.",
        time_axis(scale, 4, bottom),
        fault_bands(data.faults, scale, 4, bottom),
        *strips,
    )


def rates(times: Sequence[float], seconds: float, width: float) -> list[float]:
    """Events per second in each slice of `width` seconds, from zero to `seconds`."""
    counts = [0] * max(math.ceil(seconds / width - 1e-6), 1)
    for at in times:
        counts[min(int(at / width), len(counts) - 1)] += 1
    return [count / width for count in counts]


def _strip(name: str, values: list[float], width: float, scale: Scale, top: float) -> Markup:
    peak = max(values, default=0.0)
    bottom = top + STRIP
    y = Scale(low=0.0, high=peak or 1.0, start=bottom, stop=top)
    steps = [("M", LEFT, bottom)]
    for i, value in enumerate(values):
        left, right = (min(scale(t), RIGHT) for t in (i * width, (i + 1) * width))
        steps += [("L", left, y(value)), ("L", right, y(value))]
    steps.append(("L", steps[-1][1], bottom))
    return tag(
        "g",
        tag("title", f"{name}: at most {number_text(peak)} per second"),
        tag("path", d=path(*steps), class_=f"area {name}"),
        tag("path", d=path(("M", LEFT, bottom), ("L", RIGHT, bottom)), class_="base"),
        tag("text", name, x=LEFT - 10, y=bottom - STRIP / 2, class_="lane-name end"),
        tag(
            "text",
            f"peak {number_text(round(peak, 1))}/s",
            x=LEFT - 10,
            y=bottom - STRIP / 2 + 15,
            class_="tick end",
        ),
    )
