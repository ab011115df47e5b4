"""A picture of the presets: which share of the requests, steps or calls is above a value, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from markupsafe import Markup

from harness.load.agents.model import AgentModel
from harness.load.agents.presets import PRESETS
from harness.load.agents.published import FIGURES, AgentSample, SampleSize
from harness.report.scales import Scale
from harness.report.svg import join, path, tag

_SIZE = SampleSize(sessions=6000, requests=3000, whole=300)
_PANELS = (
    ("request seconds", "time of a request, seconds"),
    ("tool calls per request", "tool calls of a request"),
    ("LLM seconds per step", "time of an LLM call, seconds"),
    ("tool seconds per step", "time of a step's tool calls, seconds"),
    ("input tokens", "input tokens of an LLM call"),
    ("output tokens", "output tokens of an LLM call"),
)
_COLORS = {
    "coding-agent": "#2563eb",
    "chat": "#d97706",
    "research": "#059669",
    "batch-documents": "#9333ea",
}
_WIDTH, _HEIGHT, _COLUMNS = 320, 210, 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 30, 40
_HEAD = 46
_LOWEST = 0.001  # the share of the lowest mark
_STYLE = "text{font:11px system-ui,sans-serif;fill:#333}.h{font-size:13px;font-weight:600}.g{stroke:#e5e5e5}"


def picture(*, seed: int = 1) -> str:
    """The picture as SVG. A ring is a published quantile of the preset of its color."""
    samples = {name: AgentSample(AgentModel(preset, seed), _SIZE) for name, preset in PRESETS.items()}
    panels = [_panel(index, samples) for index in range(len(_PANELS))]
    width, height = _COLUMNS * _WIDTH, _HEAD + ceil(len(_PANELS) / _COLUMNS) * _HEIGHT
    return str(
        tag(
            "svg",
            tag("style", _STYLE),
            tag("title", "Agent work: the distributions of the presets"),
            tag("rect", width=width, height=height, fill="#fff"),
            _legend(),
            *panels,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width} {height}",
            role="img",
        )
    )


def _legend() -> Markup:
    entries = [
        tag("rect", x=_LEFT + 150 * place, y=16, width=18, height=4, fill=color)
        + tag("text", name, x=_LEFT + 24 + 150 * place, y=22)
        for place, (name, color) in enumerate(_COLORS.items())
    ]
    ring = tag("circle", cx=_LEFT + 614, cy=18, r=4, fill="none", stroke="#333")
    return join([*entries, ring, tag("text", "published quantile", x=_LEFT + 626, y=22)])


def _panel(index: int, samples: dict[str, AgentSample]) -> Markup:
    quantity, title = _PANELS[index]
    curves = {name: curve for name, sample in samples.items() if (curve := _curve(sample.values(quantity)))}
    rings = [
        (figure.value, 1 - int(figure.key[-2:]) / 100, figure.preset)
        for figure in FIGURES
        if figure.key in (f"{quantity} p{percent}" for percent in (50, 90, 99))
    ]
    values = [value for curve in curves.values() for value, _ in curve] + [value for value, _, _ in rings]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    x = Scale(low=low, high=high, start=_LEFT, stop=_WIDTH - _RIGHT)
    y = Scale(low=log10(_LOWEST), high=0, start=_HEIGHT - _BOTTOM, stop=_TOP)
    lines = [
        tag(
            "path",
            d=path(*(("L" if i else "M", x(log10(v)), y(log10(s))) for i, (v, s) in enumerate(curve))),
            fill="none",
            stroke=_COLORS[name],
            stroke_width=1.8,
        )
        for name, curve in curves.items()
    ]
    circles = [
        tag("circle", cx=x(log10(value)), cy=y(log10(share)), r=4, fill="none", stroke=_COLORS[name])
        for value, share, name in rings
    ]
    heading = tag("text", title, x=_LEFT, y=_TOP - 10, class_="h")
    parts = [heading, *_axes(x, y, low, high), *lines, *circles]
    row, column = divmod(index, _COLUMNS)
    return tag("g", *parts, transform=f"translate({column * _WIDTH} {_HEAD + row * _HEIGHT})")


def _axes(x: Scale, y: Scale, low: int, high: int) -> list[Markup]:
    parts = []
    every = max(1, ceil((high - low) / 6))
    for power in range(low, high + 1, every):
        place = x(power)
        parts.append(tag("line", x1=place, x2=place, y1=y.start, y2=y.stop, class_="g"))
        parts.append(tag("text", _mark(power), x=place, y=y.start + 15, text_anchor="middle"))
    for power in range(-3, 1):
        place = y(power)
        parts.append(tag("line", x1=x.start, x2=x.stop, y1=place, y2=place, class_="g"))
        label = f"{100 * 10**power:g} %"
        parts.append(tag("text", label, x=x.start - 6, y=place + 4, text_anchor="end"))
    return parts


def _mark(power: int) -> str:
    if power >= 6:
        return f"{10 ** (power - 6)}M"
    return f"{10 ** (power - 3)}k" if power >= 3 else f"{10.0**power:g}"


def _curve(values: Sequence[float]) -> list[tuple[float, float]]:
    """Points (value, share of values that are at least as large), evenly spaced in the logarithm of the share."""
    steps = 120
    shares = [_LOWEST ** (step / steps) for step in range(steps + 1)]
    places = [min(len(values) - 1, int(len(values) * (1 - share))) for share in shares]
    points = [(values[place], share) for place, share in zip(places, shares, strict=True)]
    return [(value, share) for value, share in points if value > 0.001]
