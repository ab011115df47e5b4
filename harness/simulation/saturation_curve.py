"""A picture of how a campaign reached its cells, or the groups of them: their number after so many runs."""

from __future__ import annotations

from harness.history.figures import counted
from harness.report.scales import Scale, number_text, ticks
from harness.report.svg import path, tag
from harness.simulation.saturation import Saturation

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 40, 44
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#333}.h{font-size:13px;font-weight:600}.g{stroke:#e5e5e5}"
    ".c{fill:none;stroke:#2563eb;stroke-width:1.8}"
)


def saturation_curve(found: Saturation) -> str:
    """The picture as SVG, with linear axes."""
    x = Scale(low=0, high=max(found.runs, 1), start=_LEFT, stop=_WIDTH - _RIGHT)
    y = Scale(low=0, high=max(len(found.counts), 1) * 1.05, start=_HEIGHT - _BOTTOM, stop=_TOP)
    axes = []
    for value in ticks(x.high, 8):
        axes.append(tag("line", x1=x(value), x2=x(value), y1=y.start, y2=y.stop, class_="g"))
        axes.append(tag("text", number_text(value), x=x(value), y=y.start + 15, text_anchor="middle"))
    for value in ticks(y.high, 6):
        axes.append(tag("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="g"))
        axes.append(tag("text", number_text(value), x=x.start - 6, y=y(value) + 4, text_anchor="end"))
    steps = [("M", x(0), y(0)), *(("L", x(runs), y(cells)) for runs, cells in found.curve)]
    steps.append(("L", x(found.runs), y(len(found.counts))))
    # Shorter than the line of the terminal, which is wider than the picture.
    heading = f"{found.named} in {counted(found.runs, 'run')}"
    return str(
        tag(
            "svg",
            tag("style", _STYLE),
            tag("title", f"{found.noun.capitalize()}s of {found.of} by the number of runs"),
            tag("rect", width=_WIDTH, height=_HEIGHT, fill="#fff"),
            tag("text", heading, x=_LEFT, y=22, class_="h"),
            *axes,
            tag("path", d=path(*steps), class_="c"),
            tag("text", "runs", x=_WIDTH - _RIGHT, y=_HEIGHT - 10, text_anchor="end"),
            tag("text", f"{found.noun}s", x=8, y=_TOP + 4),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            role="img",
        )
    )
