"""The picture of a run: drain, processor time and pick-up of each peer, as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from math import inf, log10
from typing import Any

from markupsafe import Markup

from harness.report.svg import join, tag
from loadtests.peers.catalog import OURS
from loadtests.peers.tables import Figure, figures_of, number

_NAMES, _PANEL, _GAP = 150, 250, 30  # pixels
_ROW, _TOP, _BAR = 24, 52, 14
_VALUE = 62  # pixels beside a bar for its value
# Of the median: a longer bar ends there, and only its value shows how long it would be.
_LONGEST = 4.0
_KINDS = {"workers": "#3b6fb6", "postgres": "#4d9a5b", "redis": "#c8553d"}
_OURS, _OTHERS, _TEXT = "#3b6fb6", "#a9b8cc", "#222222"


def picture(run: Mapping[str, Any]) -> str:
    """The SVG of a run from its JSON."""
    rows = [(name, peer["title"], figures_of(run, name)) for name, peer in run["peers"].items()]
    width, height = _NAMES + 3 * _PANEL + 3 * _GAP, _TOP + _ROW * len(rows) + 12
    figures = [one for _, _, one in rows]
    names = [_text(_NAMES - 8, _y(row), title, anchor="end") for row, (_, title, _) in enumerate(rows)]
    left = [_NAMES + index * (_PANEL + _GAP) for index in range(3)]
    parts = [
        tag("rect", width=width, height=height, fill="#ffffff"),
        *names,
        *_bars(left[0], "drain, tasks/s", [_drain(name, one) for name, _, one in rows]),
        *_bars(
            left[1], "processor time per drained task, µs", [_costs(one) for one in figures], longest=_LONGEST
        ),
        *_legend(left[1]),
        *_pick_ups(left[2], figures),
    ]
    size = {"width": width, "height": height, "viewBox": f"0 0 {width} {height}"}
    style = {"font_family": "sans-serif", "font_size": 12}
    return str(tag("svg", join(parts), xmlns="http://www.w3.org/2000/svg", **size, **style)) + "\n"


Part = tuple[float, str]
"""A value and its color."""


def _drain(name: str, figures: Mapping[str, Figure]) -> list[Part]:
    color = _OURS if name == OURS else _OTHERS
    return [(figures["drain"]["median"], color)] if "drain" in figures else []


def _costs(figures: Mapping[str, Figure]) -> list[Part]:
    return [
        (figures[f"drain.{kind}"]["median"], color)
        for kind, color in _KINDS.items()
        if f"drain.{kind}" in figures
    ]


def _bars(
    left: float, title: str, rows: Sequence[Sequence[Part]], *, longest: float = inf
) -> Iterator[Markup]:
    totals = [sum(value for value, _ in row) for row in rows]
    known = sorted(total for total in totals if total) or [1.0]
    most = min(known[-1], longest * statistics.median_low(known))
    scale = (_PANEL - _VALUE) / most
    yield _text(left, 18, title, weight="bold")
    for row, (parts, total) in enumerate(zip(rows, totals, strict=True)):
        at = left
        for value, color in parts:
            end = min(left + most * scale, at + value * scale)
            yield tag("rect", x=at, y=_y(row) - 11, width=end - at, height=_BAR, fill=color)
            at = end
        if total:
            yield _text(at + 4, _y(row), f"{'» ' if total > most else ''}{number(total)}")


def _legend(left: float) -> Iterator[Markup]:
    for index, (kind, color) in enumerate(_KINDS.items()):
        x = left + index * 80
        yield tag("rect", x=x, y=28, width=10, height=10, fill=color)
        yield _text(x + 14, 37, kind.title())


def _pick_ups(left: float, rows: Sequence[Mapping[str, Figure]]) -> Iterator[Markup]:
    """The p50 and the p99 of each peer, on a logarithmic scale."""
    pairs = [[row[f"sparse-call-{rank}"]["median"] for rank in ("p50", "p99")] if row else [] for row in rows]
    values = [value for pair in pairs for value in pair if value > 0] or [1.0]
    low, high = log10(min(values)), log10(max(values)) + 1e-9
    yield _text(left, 18, "sparse pick-up from the call, ms", weight="bold")
    yield tag("circle", cx=left + 5, cy=33, r=5, fill=_OURS)
    yield _text(left + 14, 37, "p50")
    yield tag("circle", cx=left + 65, cy=33, r=4.5, fill="none", stroke=_OURS)
    yield _text(left + 74, 37, "p99")
    for row, pair in enumerate(pairs):
        if not pair:
            continue
        p50, p99 = (left + 6 + (_PANEL - 110) * (log10(max(v, 1e-6)) - low) / (high - low) for v in pair)
        yield tag("line", x1=p50, x2=p99, y1=_y(row) - 4, y2=_y(row) - 4, stroke=_OTHERS)
        yield tag("circle", cx=p50, cy=_y(row) - 4, r=5, fill=_OURS)
        yield tag("circle", cx=p99, cy=_y(row) - 4, r=4.5, fill="#ffffff", stroke=_OURS)
        yield _text(p99 + 9, _y(row), f"{number(pair[0])} / {number(pair[1])}")


def _y(row: int) -> float:
    return _TOP + _ROW * row + 16


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> Markup:
    return tag("text", text, x=x, y=y, fill=_TEXT, text_anchor=anchor, font_weight=weight)
