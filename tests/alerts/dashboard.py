"""The dashboard of deploy/grafana: its panels and their queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.alerts.scaling import SCRAPE_SECONDS
from tests.house.sources import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "agentexec.json"
COLUMNS = 24
# As Grafana fills them in for all queues; a rate needs four scrapes.
VARIABLES = {"$queue": ".*", "$__rate_interval": f"{4 * SCRAPE_SECONDS:.0f}s"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelQuery:
    """One query of a panel, its variables filled in, and how its series are called."""

    expression: str
    legend: str

    def name_of(self, labels: Mapping[str, str]) -> str:
        """The legend of a series."""
        text = self.legend
        for label, value in labels.items():
            text = text.replace(f"{{{{{label}}}}}", value)
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel; its place and size are in units of Grafana's grid."""

    title: str
    kind: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    queries: tuple[PanelQuery, ...]


def document() -> dict[str, Any]:
    """The JSON of the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def panels() -> list[Panel]:
    """The panels in the order of the file."""
    return [_panel(one) for one in document()["panels"]]


def _panel(one: Mapping[str, Any]) -> Panel:
    place = one["gridPos"]
    return Panel(
        title=one["title"],
        kind=one["type"],
        unit=one["fieldConfig"]["defaults"]["unit"],
        x=place["x"],
        y=place["y"],
        width=place["w"],
        height=place["h"],
        queries=tuple(
            PanelQuery(expression=_filled_in(target["expr"]), legend=target["legendFormat"])
            for target in one["targets"]
        ),
    )


def _filled_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression
