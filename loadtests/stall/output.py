"""The table and the picture of stalls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from harness.load.heat_map import heat_map
from harness.load.load_time import latency_text
from harness.load.quantile_plot import quantile_plot
from harness.report.frame import LEFT, WIDTH
from harness.report.markdown_page import markdown_table
from harness.report.page import style_sheet
from harness.report.svg import tag
from loadtests.stall.stalls import MODELS, SLOW_SECONDS, Stall

_QUANTILES = (50, 95, 99)
_VERDICTS = {0: "0, met", 1: "1, breached", 2: "2, not measurable"}
_TITLE = 34.0
_HEIGHT = re.compile(r'viewBox="0 0 \d+ (\d+)"')
_STYLE = """
text { font: 11px system-ui, sans-serif; } .back { fill: var(--card); }
.heading { font-size: 14px; font-weight: 600; fill: var(--ink); }
"""


def stall_table(stalls: Sequence[Stall]) -> str:
    """What each model has seen of each stall, as a table in Markdown."""
    heads = [
        "stop",
        "model",
        "verdict",
        "breached",
        "tasks",
        f"above {SLOW_SECONDS:g} s",
        "p50",
        "p95",
        "p99",
        "max",
    ]
    return markdown_table(heads, list(_rows(stalls)), numbers_from=4)


def _rows(stalls: Sequence[Stall]) -> Iterator[list[str]]:
    for one in stalls:
        for model in MODELS:
            seen = one.seen[model]
            latencies = [*seen.latencies.quantiles(_QUANTILES), seen.latencies.most]
            yield [
                f"{one.seconds:g} s of {one.stopped}",
                model,
                _VERDICTS[seen.code],
                ", ".join(row.partition(" ")[0] for row in seen.breached) or "none",
                f"{seen.latencies.count:,}",
                f"{seen.slow:,}",
                *map(latency_text, latencies),
            ]


def stall_picture(stall: Stall) -> str:
    """The latencies of both models over time, and their quantiles, as an SVG of its own."""
    parts = [
        (f"{model.capitalize()} model, by the time at which a task was {when}", heat_map(seen.over_time))
        for (model, seen), when in zip(stall.seen.items(), ("due", "sent"), strict=True)
    ]
    curves = {f"{model} model": stall.seen[model].latencies for model in MODELS}
    parts.append(("Quantiles", quantile_plot("Quantiles", curves)))
    placed: list[Markup] = []
    top = 0.0
    for title, picture in parts:
        if picture is None:
            continue
        height = float(_HEIGHT.findall(picture)[0])
        placed.append(tag("text", title, x=LEFT, y=top + 22, class_="heading"))
        placed.append(tag("svg", picture, x=0, y=top + _TITLE, width=WIDTH, height=height))
        top += _TITLE + height
    return str(
        tag(
            "svg",
            tag("style", Markup(style_sheet("report.css", "load.css") + _STYLE)),  # noqa: S704 - files of the package
            tag("title", f"A stop of {stall.stopped}, seen by an open and by a closed model"),
            tag("rect", width=WIDTH, height=top, class_="back"),
            *placed,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {WIDTH:.0f} {top:.0f}",
            role="img",
        )
    )
