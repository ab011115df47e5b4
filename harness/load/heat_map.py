"""Latencies by intended time: how many tasks had which latency, and which never completed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from markupsafe import Markup

from harness.history.figures import counted
from harness.load.load_time import LoadTime, bucket_quantile, latency_text
from harness.load.series import NEVER_BUCKET, bucket_end
from harness.report.frame import LEFT, RIGHT, fault_bands, fault_labels, picture, time_axis, time_scale
from harness.report.scales import Scale, seconds_text
from harness.report.svg import path, tag

SHADES = 8
"""The steps of darkness."""

_ROW = 8.0


def heat_map(time: LoadTime) -> Markup | None:
    """Latencies by intended time: a column per slice, a row per bucket, the darker the more tasks; None without any."""
    totals: Counter[int] = Counter()
    for one in time.slices.values():
        totals.update(one.latencies)
    finite = sorted(bucket for bucket in totals if bucket != NEVER_BUCKET)
    if not totals:
        return None
    low, high = (finite[0], finite[-1]) if finite else (0, 0)
    never = _ROW * 2 if totals[NEVER_BUCKET] else 0.0
    labels, faults = fault_labels(time.faults, time_scale(time.seconds))
    top = faults + never + 6
    bottom = top + (high - low + 1) * _ROW
    scale = time_scale(time.seconds)
    return picture(
        bottom + 24,
        "Latencies over time",
        "How many tasks had which latency, by their intended time.",
        fault_bands(time.faults, scale, faults, bottom),
        labels,
        *_latency_axis(low, high, top, bottom),
        tag("text", "never", x=LEFT - 10, y=faults + 14, class_="never end") if never else "",
        *_cells(time, scale, high, top),
        *_columns(time, scale, faults, bottom),
        time_axis(scale, bottom, bottom),
    )


def _cells(time: LoadTime, scale: Scale, high: int, top: float) -> Iterator[Markup]:
    """All cells of a shade in one path: a page with a hundred thousand tasks has eight of them."""
    most = max(count for one in time.slices.values() for count in one.latencies.values())
    steps: dict[int, list[str]] = {}
    width = scale(time.width) - scale(0)
    for number, one in sorted(time.slices.items()):
        for bucket, count in one.latencies.items():
            shade = 1 + int((SHADES - 1) * math.log(count) / math.log(most)) if most > 1 else SHADES
            y = top - 6 - _ROW * 1.5 if bucket == NEVER_BUCKET else top + (high - bucket) * _ROW
            x = scale(number * time.width)
            part = f"M{x:.1f} {y:.1f}h{width:.1f}v{_ROW:.0f}h-{width:.1f}z"
            steps.setdefault(shade if bucket != NEVER_BUCKET else 0, []).append(part)
    for shade, parts in sorted(steps.items()):
        yield tag("path", d="".join(parts), class_=f"heat h{shade}" if shade else "heat never")


def _columns(time: LoadTime, scale: Scale, top: float, bottom: float) -> Iterator[Markup]:
    """An invisible column per slice that says in its tooltip what the cells show."""
    for number, one in sorted(time.slices.items()):
        if not one.latencies:
            continue
        p50, p99 = (bucket_quantile(one.latencies, share) for share in (0.5, 0.99))
        text = (
            f"from {seconds_text(number * time.width)}: {counted(sum(one.latencies.values()), 'task')}, "
            f"p50 up to {latency_text(p50)}, p99 up to {latency_text(p99)}"
        )
        yield tag(
            "rect",
            tag("title", text),
            x=scale(number * time.width),
            y=top,
            width=scale(time.width) - scale(0),
            height=bottom - top,
            class_="column",
        )


def _latency_axis(low: int, high: int, top: float, bottom: float) -> Iterator[Markup]:
    """Labels at powers of ten between the buckets."""
    begin = bucket_end(low - 1) if low else bucket_end(0) / 2
    for power in range(-3, 6):
        for digit in (1, 3):
            value = digit * 10.0**power
            if not begin < value <= bucket_end(high) * 1.01:
                continue
            share = math.log2(value / begin) / math.log2(bucket_end(high) / begin)
            y = bottom - share * (bottom - top)
            yield tag("path", d=path(("M", LEFT, y), ("L", RIGHT, y)), class_="grid")
            yield tag("text", latency_text(value), x=LEFT - 10, y=y + 4, class_="tick end")
