"""The dashboard as a picture: its panels where Grafana places them, drawn from the answers to the same queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.report.scales import Scale, number_text, seconds_text, ticks
from harness.report.svg import join, path, tag
from tests.alerts.dashboard import COLUMNS, Panel
from tests.alerts.monitoring import Sample

_WIDTH, _ROW, _MARGIN = 1200.0, 26.0, 4.0  # pixels; _ROW is one unit of the grid
_LEFT, _TOP, _LEGEND_ROW = 58.0, 26.0, 14.0  # inside of a panel
_LETTER = 5.6  # pixels, of the legend
_GAP_STEPS = 2.5  # a longer gap between two samples breaks the line
_COLORS = (
    "#3b6fb6", "#c8553d", "#4d9a5b", "#8a63a8", "#c89b3c", "#3f9aa5", "#b0567f", "#6b6b6b",
    "#7d8c2f", "#a8452c", "#2f5d8c", "#946f4c", "#5b5bb0",
)  # fmt: skip
_TEXT, _FRAME, _GRID = "#222222", "#d5d9e0", "#e8ebef"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One series of a panel."""

    name: str
    samples: Sequence[Sample]


Drawing = tuple[Panel, Sequence[Curve]]


def picture(drawings: Sequence[Drawing], begin: float, end: float, step: float) -> str:
    """The SVG of all panels; times in seconds since the epoch, `step` between samples."""
    height = max(panel.y + panel.height for panel, _ in drawings) * _ROW
    parts = [tag("rect", width=_WIDTH, height=height, fill="#f4f5f7")]
    for panel, curves in drawings:
        unit = _WIDTH / COLUMNS
        box = tag(
            "rect",
            width=panel.width * unit - 2 * _MARGIN,
            height=panel.height * _ROW - 2 * _MARGIN,
            rx=3,
            fill="#ffffff",
            stroke=_FRAME,
        )
        inner = _stat(panel, curves) if panel.kind == "stat" else _chart(panel, curves, begin, end, step)
        place = f"translate({panel.x * unit + _MARGIN:g} {panel.y * _ROW + _MARGIN:g})"
        parts.append(tag("g", box, _text(10, 18, panel.title, weight="bold"), *inner, transform=place))
    size = {"width": _WIDTH, "height": height, "viewBox": f"0 0 {_WIDTH:g} {height:g}"}
    svg = tag("svg", join(parts), xmlns="http://www.w3.org/2000/svg", font_family="sans-serif", **size)
    return f"{svg}\n"


def _stat(panel: Panel, curves: Sequence[Curve]) -> Iterator[Markup]:
    """The last value, as Grafana shows it, with the highest of the time beside it."""
    values = [value for curve in curves for _, value in curve.samples if math.isfinite(value)]
    if values:
        show = _shown(panel.unit)
        yield _text(10, 62, show(values[-1]), size=30)
        yield _text(10, 84, f"highest {show(max(values))}, lowest {show(min(values))}", size=11)


def _chart(panel: Panel, curves: Sequence[Curve], begin: float, end: float, step: float) -> Iterator[Markup]:
    width, height = panel.width * _WIDTH / COLUMNS - 2 * _MARGIN, panel.height * _ROW - 2 * _MARGIN
    legend = _legend_rows([curve.name for curve in curves], width - 20)
    bottom = height - 26 - len(legend) * _LEGEND_ROW
    values = [value for curve in curves for _, value in curve.samples if math.isfinite(value)]
    x = Scale(low=0.0, high=end - begin, start=_LEFT, stop=width - 12)
    y = Scale(low=0.0, high=max([*values, 1e-9]) * 1.05, start=bottom, stop=_TOP + 8)
    for value in ticks(y.high, 4):
        yield _line(x.start, y(value), x.stop, y(value), _GRID)
        yield _text(_LEFT - 6, y(value) + 4, _shown(panel.unit)(value), size=10, anchor="end")
    for seconds in ticks(x.high, 6):
        yield _text(x(seconds), bottom + 13, f"{seconds:g} s", size=10, anchor="middle")
    for number, curve in enumerate(curves):
        outline = _outline(curve.samples, x, y, begin, step)
        yield tag("path", d=outline, fill="none", stroke=_color(number), stroke_width=1.4)
    for row, names in enumerate(legend):
        at = 10.0
        for number, name in names:
            top = height - 8 - (len(legend) - 1 - row) * _LEGEND_ROW
            yield tag("rect", x=at, y=top - 5, width=10, height=3, fill=_color(number))
            yield _text(at + 14, top, name, size=10)
            at += _legend_width(name)


def _outline(samples: Sequence[Sample], x: Scale, y: Scale, begin: float, step: float) -> str:
    steps: list[tuple[str, float, float]] = []
    before = -math.inf
    for at, value in samples:
        if math.isfinite(value):
            steps.append(("L" if at - before < _GAP_STEPS * step else "M", x(at - begin), y(value)))
            before = at
    return path(*steps)


def _legend_rows(names: Sequence[str], width: float) -> list[list[tuple[int, str]]]:
    rows: list[list[tuple[int, str]]] = [[]]
    left = width
    for number, name in enumerate(names):
        if rows[-1] and _legend_width(name) > left:
            rows.append([])
            left = width
        rows[-1].append((number, name))
        left -= _legend_width(name)
    return rows


def _legend_width(name: str) -> float:
    return 24 + _LETTER * len(name)


def _shown(unit: str) -> Callable[[float], str]:
    """How values of one of Grafana's units are written."""
    return {
        "percentunit": lambda value: f"{100 * value:.0f} %",
        "s": lambda value: seconds_text(value) if value else "0",
        "bytes": lambda value: f"{value / 1e6:,.0f} MB",
        "ops": lambda value: f"{number_text(value)}/s",
    }.get(unit, number_text)


def _color(number: int) -> str:
    return _COLORS[number % len(_COLORS)]


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=color)


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal"
) -> Markup:
    return tag("text", text, x=x, y=y, fill=_TEXT, text_anchor=anchor, font_weight=weight, font_size=size)
