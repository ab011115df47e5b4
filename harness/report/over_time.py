"""Figures over time as small pictures below each other, each with its own scale, with the faults shaded.

They are rates (tasks per second), latencies by the time from which they count, the depth of the queue, the number of
active runs, and the load of the machine if the history has it. All of them are computed per slice of time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.history.figures import nearest_rank
from harness.report.frame import LEFT, RIGHT, fault_bands, fault_labels, picture, time_axis, time_scale
from harness.report.picture_data import Bar, BarOutcome, PictureData
from harness.report.scales import Scale, number_text, round_step, seconds_text
from harness.report.svg import path, tag

STRIP = 44.0
GAP = 12.0
SLICES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One small picture: the height of the area in each slice, and of the line if it has one; None where empty.

    `kind` is the class of its colours, `text` is the figure below its name, `what` explains it in a tooltip.
    """

    name: str
    kind: str
    area: Sequence[float | None]
    line: Sequence[float | None] = ()
    text: str
    what: str


@dataclass(frozen=True, slots=True)
class _Grid:
    """The slices of a run of `seconds`, each `width` seconds long."""

    seconds: float
    width: float


def over_time(data: PictureData) -> Markup:
    """All figures over time, with the labels of the faults above them."""
    scale = time_scale(data.seconds)
    width = round_step(data.seconds, SLICES)
    labels, top = fault_labels(data.faults, scale)
    strips = all_strips(data, width)
    bottom = top + GAP + len(strips) * (STRIP + GAP)
    return picture(
        bottom + 24,
        "Figures over time",
        f"{', '.join(strip.name for strip in strips)}, in slices of {seconds_text(width)}.",
        time_axis(scale, top, bottom),
        fault_bands(data.faults, scale, top, bottom),
        labels,
        *(draw_strip(strip, width, scale, top + GAP + i * (STRIP + GAP)) for i, strip in enumerate(strips)),
    )


def all_strips(data: PictureData, width: float) -> list[Strip]:
    """The strips of a run in slices of `width` seconds."""
    grid = _Grid(data.seconds, width)
    started, accepted = first_starts(data.runs), [b for b in data.submissions if b.outcome is BarOutcome.OK]
    # A worker may record a task's begin before the client records its answer.
    waiting = [
        (min(bar.end, started.get(bar.task, bar.end)), started.get(bar.task))
        for bar in {bar.task: bar for bar in accepted}.values()
    ]
    active = [(bar.start, bar.end) for bar in data.runs]
    return [
        _rate("acknowledged", "soft", [bar.end for bar in accepted], grid),
        _rate("started", "plain", [bar.start for bar in data.runs], grid),
        _rate("completed", "good", [b.end for b in data.runs if b.outcome is BarOutcome.OK], grid),
        *_latencies(data, accepted, grid),
        _level("queue depth", "soft", waiting, grid, "tasks that are acknowledged and have not started"),
        _level("in flight", "plain", active, grid, "runs that began and have not ended"),
        *([_memory(data.memory, grid)] if data.memory else []),
        *(_gauge(name, samples, grid) for name, samples in data.machine.items()),
    ]


def first_starts(runs: Iterable[Bar]) -> Mapping[int, float]:
    """By task, the beginning of its first run."""
    found: dict[int, float] = {}
    for bar in runs:
        found[bar.task] = min(bar.start, found.get(bar.task, bar.start))
    return found


def rates(times: Sequence[float], seconds: float, width: float) -> list[float]:
    """Events per second in each slice of `width` seconds, from zero to `seconds`."""
    counts = [0] * slices(seconds, width)
    for at in times:
        counts[min(int(at / width), len(counts) - 1)] += 1
    return [count / width for count in counts]


def slices(seconds: float, width: float) -> int:
    """The number of slices of `width` seconds from zero to `seconds`."""
    return max(math.ceil(seconds / width - 1e-6), 1)


def levels(spans: Iterable[tuple[float, float | None]], seconds: float, width: float) -> list[float]:
    """The most spans that are open at the same time, in each slice; a span without an end stays open."""
    steps = [(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans if end is not None]
    found = [0.0] * slices(seconds, width)
    level, place = 0, 0
    for at, step in sorted(steps):  # at equal times an end counts before a begin
        now = min(int(at / width), len(found) - 1)
        while place < now:
            place += 1
            found[place] = level
        level += step
        found[place] = max(found[place], level)
    for rest in range(place + 1, len(found)):
        found[rest] = level
    return found


def by_slice(samples: Iterable[tuple[float, float]], seconds: float, width: float) -> list[list[float]]:
    """The values of each slice in ascending order, by the time of the sample."""
    found: list[list[float]] = [[] for _ in range(slices(seconds, width))]
    for at, value in samples:
        found[min(max(int(at / width), 0), len(found) - 1)].append(value)
    return [sorted(values) for values in found]


def _rate(name: str, kind: str, times: Sequence[float], grid: _Grid) -> Strip:
    values = rates(times, grid.seconds, grid.width)
    peak = f"peak {number_text(round(max(values), 1))}/s"
    return Strip(name=name, kind=kind, area=values, text=peak, what=f"tasks {name} per second")


def _level(
    name: str, kind: str, spans: Sequence[tuple[float, float | None]], grid: _Grid, what: str
) -> Strip:
    values = levels(spans, grid.seconds, grid.width)
    return Strip(name=name, kind=kind, area=values, text=f"peak {number_text(max(values))}", what=what)


def _latencies(data: PictureData, accepted: Sequence[Bar], grid: _Grid) -> list[Strip]:
    """From the intended time of a submission, or else its acknowledgement, to the first begin and the first return."""
    since = {bar.task: bar.end if bar.intended is None else bar.intended for bar in accepted}
    return [
        _quantiles("start latency", since, first_starts(data.runs), grid, "until the first run began"),
        _quantiles("end to end", since, first_ends(data.runs), grid, "until a handler returned"),
    ]


def first_ends(runs: Iterable[Bar]) -> Mapping[int, float]:
    """By task, the first end of a run whose handler returned."""
    found: dict[int, float] = {}
    for bar in runs:
        if bar.outcome is BarOutcome.OK:
            found[bar.task] = min(bar.end, found.get(bar.task, bar.end))
    return found


def _quantiles(
    name: str, since: Mapping[int, float], reached: Mapping[int, float], grid: _Grid, what: str
) -> Strip:
    samples = [(at, max(reached[task] - at, 0.0)) for task, at in since.items() if task in reached]
    values = by_slice(samples, grid.seconds, grid.width)
    most = max((value for _, value in samples), default=None)
    return Strip(
        name=name,
        kind="late",
        area=[one[-1] if one else None for one in values],
        line=[nearest_rank(one, 0.5) if one else None for one in values],
        text=f"max {seconds_text(most)}",
        what=f"seconds {what}, by the time from which they count: the most as an area, the median as a line",
    )


def _memory(samples: Sequence[tuple[float, float]], grid: _Grid) -> Strip:
    values = [one[-1] if one else None for one in by_slice(samples, grid.seconds, grid.width)]
    text = f"max {number_text(round(max(size for _, size in samples) / 2**20, 1))} MiB"
    what = "memory of the largest process of the pools, without what it shares with files"
    return Strip(name="memory", kind="plain", area=values, text=text, what=what)


def _gauge(name: str, samples: Sequence[tuple[float, float]], grid: _Grid) -> Strip:
    values = [one[-1] if one else None for one in by_slice(samples, grid.seconds, grid.width)]
    most = max(value for _, value in samples)
    text, what = {
        "spin": (
            f"max {number_text(most)} times",
            "how many times longer than at its best a fixed work took",
        ),
        "delay": (f"max {seconds_text(most)}", "how late a short sleep woke"),
    }.get(name, (f"max {number_text(most)}", "the load average over one minute"))
    return Strip(name=f"machine {name}", kind="gauge", area=values, text=text, what=what)


def draw_strip(strip: Strip, width: float, scale: Scale, top: float) -> Markup:
    """One strip with its name, in slices of `width` seconds."""
    peak = max((value for value in strip.area if value is not None), default=0.0)
    bottom = top + STRIP
    y = Scale(low=0.0, high=peak or 1.0, start=bottom, stop=top)
    middle = (top + bottom) / 2
    return tag(
        "g",
        tag("title", f"{strip.name}, {strip.text}: {strip.what}"),
        tag("path", d=_outline(strip.area, width, scale, y, bottom), class_=f"area {strip.kind}"),
        tag("path", d=_line(strip.line, width, scale, y), class_="median") if strip.line else "",
        tag("path", d=path(("M", LEFT, bottom), ("L", RIGHT, bottom)), class_="base"),
        tag("text", strip.name, x=LEFT - 10, y=middle, class_="lane-name end"),
        tag("text", strip.text, x=LEFT - 10, y=middle + 14, class_="tick end"),
        class_="strip",
    )


def _steps(
    values: Sequence[float | None], width: float, scale: Scale
) -> Iterable[tuple[float, float, float]]:
    for i, value in enumerate(values):
        if value is not None:
            yield min(scale(i * width), RIGHT), min(scale((i + 1) * width), RIGHT), value


def _outline(values: Sequence[float | None], width: float, scale: Scale, y: Scale, bottom: float) -> str:
    steps: list[tuple[str, float, float]] = []
    for left, right, value in _steps(values, width, scale):
        if not steps or steps[-1][1:] != (left, bottom):
            steps.append(("M", left, bottom))
        else:  # continue the area of the slice before
            steps.pop()
        steps += [("L", left, y(value)), ("L", right, y(value)), ("L", right, bottom)]
    return path(*steps)


def _line(values: Sequence[float | None], width: float, scale: Scale, y: Scale) -> str:
    return "".join(
        path(("M", left, y(value)), ("L", right, y(value)))
        for left, right, value in _steps(values, width, scale)
    )
