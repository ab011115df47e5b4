"""Lanes with too many runs to draw one by one: the number of active runs in each slice of time."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from harness.report.picture_data import Bar
from harness.report.scales import Scale, seconds_text
from harness.report.svg import tag

SLICES = 200


def active(bars: Sequence[Bar], seconds: float, slices: int = SLICES) -> list[float]:
    """The mean number of active runs in each of equally long slices of `0..seconds`."""
    width = seconds / slices
    sums = [0.0] * slices
    for bar in bars:
        first, last = (min(max(int(t / width), 0), slices - 1) for t in (bar.start, bar.end))
        for i in range(first, last + 1):
            sums[i] += max(min(bar.end, (i + 1) * width) - max(bar.start, i * width), 0.0)
    return [total / width for total in sums]


def density_cells(bars: Sequence[Bar], scale: Scale, top: float, height: float) -> list[Markup]:
    """One cell per slice with active runs; the more runs, the more opaque the cell."""
    counts = active(bars, scale.high)
    peak = max(counts, default=0.0) or 1.0
    width = (scale.stop - scale.start) / SLICES
    return [
        tag(
            "rect",
            tag(
                "title", f"on average {count:.1f} runs around {seconds_text(scale.high * (i + 0.5) / SLICES)}"
            ),
            x=scale.start + i * width,
            y=top,
            width=width,
            height=height,
            class_="cell",
            fill_opacity=f"{0.15 + 0.85 * count / peak:.2f}",
        )
        for i, count in enumerate(counts)
        if count > 0.005
    ]
