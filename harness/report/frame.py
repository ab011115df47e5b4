"""Parts of all pictures: the time axis, and shaded faults with labels that never overlap."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from harness.report.lanes import place
from harness.report.picture_data import FaultRow
from harness.report.scales import Scale, number_text, seconds_text, ticks
from harness.report.svg import path, tag

WIDTH = 1200.0
LEFT = 132.0
RIGHT = 1184.0
LABEL_ROW = 17.0
LABEL_ROWS = 3
# Pixels of one character in the 11 px sans-serif of labels, rounded up.
CHARACTER = 6.4


def time_scale(seconds: float) -> Scale:
    """From the start of the run to its end, between the label gutter and the right margin."""
    return Scale(low=0.0, high=seconds, start=LEFT, stop=RIGHT)


def picture(
    height: float, title: str, description: str, *children: object, class_: str = "picture"
) -> Markup:
    """The `svg` element itself, with a name and a description for screen readers."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *children,
        class_=class_,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="group",
        aria_label=title,
    )


def time_axis(scale: Scale, top: float, bottom: float, unit: str = "s") -> Markup:
    """Grid lines from top to bottom at round times, labelled below."""
    parts: list[Markup] = []
    for value in ticks(scale.high, 12):
        x = scale(value)
        parts.append(tag("path", d=path(("M", x, top), ("L", x, bottom)), class_="grid"))
        parts.append(tag("text", f"{number_text(value)} {unit}", x=x, y=bottom + 15, class_="tick mid"))
    return tag("g", *parts, aria_hidden="true")


def fault_text(fault: FaultRow) -> str:
    """One fault in one line, as in `fault 3: kill-worker at 2.10 s, hit process 4711 of pool-1`."""
    healed = "" if fault.end is None else f", healed after {seconds_text(fault.end - fault.start)}"
    hit = ", ".join(str(pid) for pid in fault.pids)
    what = f", hit process{'es' if len(fault.pids) > 1 else ''} {hit}" if hit else ""
    pool = f" of {fault.pool}" if fault.pool else ""
    failed = ", but the injection failed" if fault.failed else ""
    return f"{_numbered(fault)} at {seconds_text(fault.start)}{healed}{what}{pool}{failed}"


def row_label(fault: FaultRow) -> str:
    """Number and name of a fault, as in `3 kill-worker`."""
    return fault.name if fault.number is None else f"{fault.number} {fault.name}"


def _numbered(fault: FaultRow) -> str:
    return fault.label if fault.number is None else f"{fault.label}: {fault.name}"


def fault_bands(faults: Sequence[FaultRow], scale: Scale, top: float, bottom: float) -> Markup:
    """Every fault as a shaded window, or as a thin line if it has no duration."""
    return tag("g", *(_band(fault, scale, top, bottom) for fault in faults), class_="faults")


def _band(fault: FaultRow, scale: Scale, top: float, bottom: float) -> Markup:
    x, stop = scale(fault.start), scale(fault.end if fault.end is not None else fault.start)
    line = tag("path", d=path(("M", x, top), ("L", x, bottom)), class_="fault-line")
    title = tag("title", fault_text(fault))
    if stop - x < 1.5:
        return tag("g", title, line)
    shade = tag("rect", x=x, y=top, width=stop - x, height=bottom - top, class_="fault-band")
    return tag("g", title, shade, line)


def fault_labels(faults: Sequence[FaultRow], scale: Scale) -> tuple[Markup, float]:
    """Labels in up to three rows, with full names if they fit, else with numbers; and the height of all rows.

    A label that fits nowhere is left out: the line keeps its tooltip, and the table below names every fault.
    """
    full = [row_label(fault) for fault in faults]
    short = [str(fault.number or "?") for fault in faults]
    for texts in (full, short):
        spans = [_span(text, scale(fault.start)) for text, fault in zip(texts, faults, strict=True)]
        rows = place(spans, LABEL_ROWS)
        if None not in rows:
            break
    used = max((row for row in rows if row is not None), default=-1) + 1
    parts = [
        _label(text, fault, left=span[0], row=row, x=scale(fault.start), rows=used)
        for text, span, row, fault in zip(texts, spans, rows, faults, strict=True)
        if row is not None
    ]
    return tag("g", *parts, class_="fault-labels"), used * LABEL_ROW


def _span(text: str, x: float) -> tuple[float, float]:
    width = len(text) * CHARACTER + 8
    left = min(x - 1, RIGHT - width)
    return left, left + width


def _label(text: str, fault: FaultRow, *, left: float, row: int, x: float, rows: int) -> Markup:
    y = row * LABEL_ROW + 2
    return tag(
        "g",
        tag("title", fault_text(fault)),
        tag("path", d=path(("M", x, y), ("L", x, rows * LABEL_ROW)), class_="fault-line"),
        tag("rect", x=left, y=y, width=len(text) * CHARACTER + 8, height=14, rx=2, class_="fault-tag"),
        tag("text", text, x=left + 4, y=y + 10.5, class_="fault-name"),
    )
