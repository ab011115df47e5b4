"""A load over time: rates, latencies and gauges as strips below each other, with the stages and the faults."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from harness.load.load_time import LoadTime
from harness.load.resources import GAUGES, NUMBER, QUEUE_GAUGES, RESOURCE_GAUGES, GaugeKind, amount_text
from harness.report.frame import RIGHT, fault_bands, fault_labels, picture, time_axis, time_scale
from harness.report.over_time import GAP, STRIP, Strip, draw_strip
from harness.report.scales import Scale, number_text, seconds_text
from harness.report.svg import path, tag

_STAGE_ROW = 18.0
_RATES = {
    "due": ("offered", "soft", "arrivals that were due, per second"),
    "sent": ("sent", "plain", "tasks sent per second"),
    "acknowledged": ("acknowledged", "plain", "tasks acknowledged per second"),
    "completed": ("completed", "good", "tasks completed per second"),
    "refused": ("refused", "bad", "calls per second that ended with an error"),
    "failed": ("failed", "bad", "tasks per second that failed or were lost"),
    "late": ("late", "late", "arrivals per second that were sent late"),
    "dropped": ("never sent", "bad", "arrivals per second that were never sent"),
}


_LATENCIES = {
    None: "from the intended time until a task was done",
    "enqueue": "from the intended time until a task was recorded, dispatched and acknowledged",
    "wait": "from the commit of a task to its first start",
    "run": "from the first start of a task to its end, with retries",
}


def load_over_time(time: LoadTime) -> Markup:
    """Rates, latencies and the gauges of the queues as strips below each other, with the stages and the faults."""
    gauges = _gauge_strips(time, [name for name in QUEUE_GAUGES if name in time.names()])
    return _picture(
        time, "Load over time", [*_rate_strips(time), *_latency_strips(time), *_unfinished(time), *gauges]
    )


def resources_over_time(time: LoadTime) -> Markup | None:
    """What workers, servers and the generator used, as strips below each other; None if nothing was sampled."""
    others = [name for name in time.names() if name not in GAUGES]
    names = [name for name in RESOURCE_GAUGES if name in time.names()] + others
    return _picture(time, "Resources over time", list(_gauge_strips(time, names))) if names else None


def _picture(time: LoadTime, title: str, strips: Sequence[Strip]) -> Markup:
    scale = time_scale(time.seconds)
    labels, top = fault_labels(time.faults, scale)
    begin = top + (_STAGE_ROW if time.stages else 0) + GAP
    bottom = begin + len(strips) * (STRIP + GAP)
    return picture(
        bottom + 24,
        title,
        f"{', '.join(strip.name for strip in strips)}, in slices of {seconds_text(time.width)}.",
        time_axis(scale, begin - GAP / 2, bottom),
        fault_bands(time.faults, scale, top, bottom),
        labels,
        *_stage_labels(time, scale, top, bottom),
        *(draw_strip(strip, time.width, scale, begin + i * (STRIP + GAP)) for i, strip in enumerate(strips)),
    )


def _stage_labels(time: LoadTime, scale: Scale, top: float, bottom: float) -> Iterator[Markup]:
    """A box for each stage, with its text where it fits, and a line at its begin."""
    for one in time.stages:
        left, right = scale(one.begin), min(scale(min(one.end, time.seconds)), RIGHT)
        if left >= right:
            continue
        text = one.stage.text
        fits = len(text) * 5.6 + 6 < right - left
        yield tag(
            "g",
            tag("title", f"stage {one.place + 1}: {text}, from {seconds_text(one.begin)}"),
            tag(
                "rect",
                x=left,
                y=top + 2,
                width=right - left,
                height=_STAGE_ROW - 4,
                class_=f"stage s{one.place % 2}",
            ),
            tag("path", d=path(("M", left, top + 2), ("L", left, bottom)), class_="stage-line"),
            tag("text", text, x=left + 4, y=top + 13, class_="tick") if fits else "",
        )


def _rate_strips(time: LoadTime) -> Iterator[Strip]:
    for key, (name, kind, what) in _RATES.items():
        values = time.rate(key)
        if any(values) or key in {"due", "completed"}:
            line = time.rate("due") if key in {"sent", "completed"} else ()
            explained = f"{what}; the line is the offered rate" if line else what
            peak = f"peak {number_text(round(max(values), 1))}/s"
            yield Strip(name=name, kind=kind, area=values, line=line, text=peak, what=explained)


def _latency_strips(time: LoadTime) -> Iterator[Strip]:
    for stage, what in _LATENCIES.items():
        if (strip := _latency_strip(time, stage, what)) is not None:
            yield strip


def _latency_strip(time: LoadTime, stage: str | None, what: str) -> Strip | None:
    p99, p50 = time.quantile(0.99, stage), time.quantile(0.5, stage)
    if stage and not any(p99):
        return None
    finite = [value for value in p99 if value is not None and math.isfinite(value)]
    highest = max(finite, default=0.0)
    never = sum(1 for value in p99 if value == math.inf)
    texts = [f"max {seconds_text(highest)}"] if finite or not never else []
    text = ", ".join([*texts, f"never: {never}"] if never else texts)
    return Strip(
        name=f"{stage or 'latency'} p99",
        kind="late",
        area=_bounded(p99, highest),
        line=_bounded(p50, highest),
        text=text,
        what=f"{what}, by the intended time of the task: p99 as an area, the median as a line",
    )


def _bounded(values: Sequence[float | None], highest: float) -> list[float | None]:
    return [value if value is None else min(value, highest or 1.0) for value in values]


def _unfinished(time: LoadTime) -> Iterator[Strip]:
    """Acknowledged tasks that are not done, at the end of each slice."""
    levels: list[float | None] = []
    level = 0.0
    for arrived, *left in zip(
        *(time.rate(name) for name in ("acknowledged", "completed", "failed")), strict=True
    ):
        level += (arrived - sum(left)) * time.width
        levels.append(round(level))
    if most := max((value for value in levels if value is not None), default=0):
        what = "tasks that were acknowledged and are not done, at the end of each slice"
        yield Strip(name="unfinished", kind="plain", area=levels, text=f"peak {number_text(most)}", what=what)


def _gauge_strips(time: LoadTime, names: Sequence[str]) -> Iterator[Strip]:
    for name in names:
        values = time.gauge(name)
        most = max(value for value in values if value is not None)
        kind = GAUGES.get(name, GaugeKind(NUMBER, name))
        yield Strip(
            name=name,
            kind="gauge",
            area=values,
            text=f"max {amount_text(most, kind.unit)}",
            what=f"{kind.what}; the highest value of each slice",
        )
