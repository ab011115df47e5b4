"""Recovery times: one dot for each task that a fault cut off, one row for each fault.

The times are those of the recovery checker: see `harness.history.interruptions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from harness.history.figures import counted
from harness.report.frame import LEFT, RIGHT, picture, row_label, time_axis
from harness.report.picture_data import FaultRow, PictureData
from harness.report.scales import Scale, seconds_text
from harness.report.svg import path, tag

ROW = 18.0
MAX_ROWS = 30
TOP = 22.0
LONGEST_LABEL = 19


def recovery_plot(data: PictureData) -> Markup | None:
    """The plot, or None if no fault cut any run off."""
    faults = [fault for fault in data.faults if fault.interrupted]
    if not faults:
        return None
    longest = data.recovery["max"]
    high = 1.0 if longest is None else longest * 1.08 or 1.0
    scale = Scale(low=0.0, high=high, start=LEFT, stop=RIGHT - 90)
    rows = _rows(faults)
    bottom = TOP + len(rows) * ROW + 4
    return picture(
        bottom + 24,
        "Recovery time of every task that a fault cut off",
        f"{counted(sum(len(fault.interrupted) for fault in faults), 'task')}, "
        f"{sum(len(fault.stuck) for fault in faults)} of them never started again.",
        time_axis(scale, TOP - 4, bottom),
        *(_row(name, members, scale, TOP + i * ROW) for i, (name, members) in enumerate(rows)),
        *_marks(data.recovery, scale, bottom),
    )


def _rows(faults: Sequence[FaultRow]) -> list[tuple[str, Sequence[FaultRow]]]:
    if len(faults) <= MAX_ROWS:
        return [(row_label(fault), [fault]) for fault in faults]
    names = dict.fromkeys(fault.name for fault in faults)
    return [(f"all {name}", [fault for fault in faults if fault.name == name]) for name in names]


def _row(name: str, faults: Sequence[FaultRow], scale: Scale, top: float) -> Markup:
    middle = top + ROW / 2
    short = name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
    parts = [
        tag("text", tag("title", name), short, x=LEFT - 10, y=middle + 4, class_="lane-name end"),
        tag("path", d=path(("M", LEFT, middle), ("L", scale.stop, middle)), class_="base"),
    ]
    parts += [
        _dot(fault, one.task, one.seconds, scale, middle)
        for fault in faults
        for one in fault.interrupted
        if one.seconds is not None
    ]
    if stuck := [task for fault in faults for task in fault.stuck]:
        parts.append(
            tag(
                "text",
                tag("title", f"never started again: {', '.join(map(str, stuck))}"),
                f"✕ {len(stuck)} never again",
                x=RIGHT,
                y=middle + 4,
                class_="never end",
            )
        )
    return tag("g", *parts)


def _dot(fault: FaultRow, task: int, seconds: float, scale: Scale, middle: float) -> Markup:
    title = f"task {task}: running again {seconds_text(seconds)} after {fault.label}"
    return tag(
        "g",
        tag("title", title),
        tag("circle", cx=scale(seconds), cy=middle, r=4, class_="dot"),
        class_="recovery",
        data_task=task,
    )


def _marks(recovery: Mapping[str, float | None], scale: Scale, bottom: float) -> list[Markup]:
    p50, p99 = recovery["p50"], recovery["p99"]
    if p50 is None or p99 is None:
        return []
    close = scale(p99) - scale(p50) < 150
    marks = [("p50", p50, "end" if close else "mid"), ("p99", p99, "begin" if close else "mid")]
    return [
        tag(
            "g",
            tag(
                "path",
                d=path(("M", scale(value), 16), ("L", scale(value), bottom)),
                class_=f"quantile {name}",
            ),
            tag("text", f"{name} {seconds_text(value)}", x=scale(value), y=11, class_=f"tick strong {side}"),
        )
        for name, value, side in marks
    ]
