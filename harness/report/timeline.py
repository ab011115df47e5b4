"""The timeline: a lane per worker, a row per slot, a bar per run of a task, shaded faults across all lanes.

A lane keeps its place when its process is replaced: each process is a stretch of the lane with a line at its begin.

Each outcome has a shape of its own besides its colour: plain for a success, slanted stripes for a failure, a dashed
outline for an unknown outcome, and a cross if a fault cut the run off. Above `MAX_BARS` runs, the lanes show how many
runs were active instead; runs that were cut off are still drawn one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.history.figures import counted
from harness.report.density import density_cells
from harness.report.frame import LEFT, RIGHT, fault_bands, fault_labels, picture, time_axis, time_scale
from harness.report.lanes import Lane, lanes
from harness.report.picture_data import Bar, BarOutcome, PictureData, WorkerLane
from harness.report.scales import Scale, seconds_text
from harness.report.submissions import submission_lane
from harness.report.svg import path, tag

MAX_BARS = 10_000
MAX_CUT_OFF = 1_000
MAX_ARROWS = 400
LANE_MINIMUM = 15.0
ROOM_FOR_TWO = 27.0  # pixels of a lane with two lines of text beside it
NOTE = 16.0  # pixels for the line that explains the density
ROOM = 620.0  # pixels for all rows together; rows shrink to fit until they reach their minimum
WORDS = {
    BarOutcome.OK: "completed",
    BarOutcome.FAIL: "failed",
    BarOutcome.UNKNOWN: "ended, outcome unknown",
}


@dataclass(frozen=True, slots=True)
class _Placed:
    lane: Lane
    top: float
    height: float
    row: float


def timeline(data: PictureData, named: Collection[int] = (), max_bars: int = MAX_BARS) -> Markup:
    """The picture; tasks that are `named` by a counterexample are outlined."""
    scale = time_scale(data.seconds)
    labels, label_height = fault_labels(data.faults, scale)
    top = label_height + 8
    client, lanes_top = submission_lane(data.submissions, scale, top, set(named))
    crowded = len(data.runs) > max_bars
    placed, bottom = _place(lanes(data.workers, data.runs), lanes_top + (NOTE if crowded else 0.0))
    drawn = [bar for bar in data.runs if not crowded or bar.killed_by is not None]
    drawn = drawn[:MAX_CUT_OFF] if crowded else drawn
    return picture(
        bottom + 24,
        "Timeline of all workers",
        _description(data),
        time_axis(scale, top, bottom),
        *(_lane(number, p, scale) for number, p in enumerate(placed, start=1)),
        client,
        fault_bands(data.faults, scale, label_height, bottom),
        labels,
        _density(placed, scale) if crowded else "",
        _arrows(data.resumptions, placed, scale) if not crowded else "",
        _bars(drawn, placed, scale, set(named)),
        _exits(data, scale, top, bottom),
        class_="picture timeline",
    )


def _description(data: PictureData) -> str:
    cut = sum(bar.killed_by is not None for bar in data.runs)
    return (
        f"{counted(len(data.runs), 'run')} in {counted(len(data.workers), 'worker process')} over "
        f"{seconds_text(data.seconds)}; {counted(len(data.faults), 'fault')} cut off {counted(cut, 'run')}. "
        "The tables below hold the same."
    )


def _place(all_lanes: Sequence[Lane], top: float) -> tuple[list[_Placed], float]:
    total = sum(len(lane.slots) for lane in all_lanes)
    row = min(max(ROOM / max(total, 1), 4.0), 11.0)
    placed: list[_Placed] = []
    for lane in all_lanes:
        top += 5
        height = max(len(lane.slots) * row, LANE_MINIMUM)
        placed.append(_Placed(lane, top, height, height / len(lane.slots)))
        top += height
    return placed, top + 5


def _lane(number: int, place: _Placed, scale: Scale) -> Markup:
    processes = place.lane.workers
    middle = place.top + place.height / 2
    count = f"{len(processes)} processes" if len(processes) > 1 else processes[0].process[:18]
    roomy = place.height >= ROOM_FOR_TWO
    cut = {bar.process for slot in place.lane.slots for bar in slot if bar.killed_by is not None}
    return tag(
        "g",
        tag("text", f"worker {number}", x=LEFT - 10, y=middle + (-1 if roomy else 4), class_="lane-name end"),
        tag("text", count, x=LEFT - 10, y=middle + 12, class_="tick end") if roomy else "",
        *(_process(worker, place, scale, busy=worker.process in cut) for worker in processes),
    )


def _process(worker: WorkerLane, place: _Placed, scale: Scale, *, busy: bool) -> Markup:
    killer = "" if worker.killed_by is None else f" by {worker.killed_by.label}"
    ending = f", ended{killer} at {seconds_text(worker.ended)}" if worker.gone else ""
    # A worker that is not known to have ended is drawn to the end of the picture.
    end = scale(worker.ended if worker.gone else scale.high)
    start, bottom = scale(worker.first_seen), place.top + place.height
    parts = [
        tag("title", f"{worker.process}: first seen at {seconds_text(worker.first_seen)}{ending}"),
        tag(
            "rect",
            x=start,
            y=place.top,
            width=max(end - start, 1.0),
            height=place.height,
            class_="alive",
        ),
        tag("path", d=path(("M", start, place.top), ("L", start, bottom)), class_="birth"),
    ]
    if worker.killed_by is not None and not busy:
        parts.append(tag("path", d=_cross(end, place.top + place.height / 2, 4.0), class_="death"))
    return tag("g", *parts)


def _bars(bars: Sequence[Bar], placed: Sequence[_Placed], scale: Scale, named: set[int]) -> Markup:
    spots = _spots(placed)
    return tag("g", *(_bar(bar, *spots[id(bar)], scale, bar.task in named) for bar in bars), class_="bars")


def _spots(placed: Sequence[_Placed]) -> dict[int, tuple[float, float]]:
    return {
        id(bar): (place.top + i * place.row, place.row)
        for place in placed
        for i, row in enumerate(place.lane.slots)
        for bar in row
    }


def _bar(bar: Bar, top: float, row: float, scale: Scale, named: bool) -> Markup:
    x = scale(bar.start)
    width = max(scale(bar.end) - x - 0.4, 1.6)
    inset = 0.5 if row < 7 else 1.0
    kind = "cut" if not bar.recorded else bar.outcome.value
    parts = [
        tag("title", bar_text(bar)),
        tag("rect", x=x, y=top + inset, width=width, height=row - 2 * inset, rx=1, class_="body"),
    ]
    if not bar.recorded:
        size = min(row / 2 - 0.5, 4.0)
        parts.append(tag("path", d=_cross(x + width, top + row / 2, size), class_="death"))
    again = " again" if (bar.attempt or 1) > 1 else ""
    classes = f"bar {kind}{again}{' named' if named else ''}"
    return tag("g", *parts, class_=classes, data_task=bar.task, role="img")


def bar_text(bar: Bar) -> str:
    """One run as text, for the tooltip and for screen readers."""
    how = WORDS[bar.outcome]
    if not bar.recorded:
        how = "never ended" if bar.killed_by is None else f"cut off by {bar.killed_by.label}"
    details = [
        f"task {bar.task}: {how}",
        f"in {bar.process}, started at {seconds_text(bar.start)}, lasted {seconds_text(bar.seconds)}",
        ", ".join(
            f"{word} {value}"
            for word, value in (("activity", bar.activity), ("attempt", bar.attempt), ("fence", bar.fence))
            if value is not None
        ),
    ]
    return "\n".join(line for line in details if line)


def _arrows(resumptions: Sequence[tuple[Bar, Bar]], placed: Sequence[_Placed], scale: Scale) -> Markup:
    spots = _spots(placed)
    later = [(before, after) for before, after in resumptions if after.start >= before.end]
    arrows = [_arrow(before, after, spots, scale) for before, after in later[:MAX_ARROWS]]
    return tag("g", *arrows, class_="arrows", aria_hidden="true")


def _arrow(before: Bar, after: Bar, spots: dict[int, tuple[float, float]], scale: Scale) -> Markup:
    (top, row), (top2, row2) = spots[id(before)], spots[id(after)]
    x, y, x2, y2 = scale(before.end), top + row / 2, scale(after.start), top2 + row2 / 2
    bend = max((x2 - x) / 2, 12.0)
    curve = path(("M", x, y), ("C", x + bend, y), (" ", x2 - bend, y2), (" ", x2, y2))
    return tag("path", d=curve, class_="arrow", data_task=after.task)


def _density(placed: Sequence[_Placed], scale: Scale) -> Markup:
    cells = [
        cell
        for place in placed
        for cell in density_cells(
            [b for row in place.lane.slots for b in row], scale, place.top, place.height
        )
    ]
    note = "More runs than can be drawn one by one: the darker, the more were active"
    return tag(
        "g",
        *cells,
        tag("text", note, x=RIGHT - 4, y=(placed[0].top if placed else NOTE) - 4, class_="note end"),
    )


def _exits(data: PictureData, scale: Scale, top: float, bottom: float) -> Markup:
    parts: list[Markup] = []
    for gone in data.exits:
        x = scale(gone.at)
        what = f"{gone.pool} ended at {seconds_text(gone.at)} with exit code {gone.code}"
        flag = path(("M", x - 5, bottom + 1), ("L", x + 5, bottom + 1), ("L", x, bottom - 7))
        parts.append(
            tag(
                "g",
                tag("title", what),
                tag("path", d=path(("M", x, top), ("L", x, bottom)), class_="exit-line"),
                tag("path", d=flag + "Z", class_="exit-flag"),
            )
        )
    return tag("g", *parts, class_="exits")


def _cross(x: float, y: float, size: float) -> str:
    return path(
        ("M", x - size, y - size),
        ("L", x + size, y + size),
        ("M", x - size, y + size),
        ("L", x + size, y - size),
    )
