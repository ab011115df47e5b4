"""The rules of deploy/prometheus: the alerts and the expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from tests.house.sources import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
RULES, TESTS, CONFIGURATION = (
    FOLDER / name for name in ("agentexec.rules.yaml", "agentexec.rules.test.yaml", "prometheus.yaml")
)
DURATION = r"(\d+)(ms|s|m|h|d)"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRule:
    """One alert; `hold_seconds` is its `for`."""

    name: str
    expression: str
    hold_seconds: float
    severity: str
    annotations: Mapping[str, str]


def load(text: str) -> dict[str, Any]:
    """A YAML document."""
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


def rules(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every rule of a document, recording rules too."""
    for group in document["groups"]:
        yield from group["rules"]


def alerts() -> list[AlertRule]:
    """The alerts in the order of the file."""
    return [
        AlertRule(
            name=rule["alert"],
            expression=rule["expr"],
            hold_seconds=seconds(rule.get("for", "0s")),
            severity=rule["labels"]["severity"],
            annotations=rule["annotations"],
        )
        for rule in rules(load(RULES.read_text("utf-8")))
        if "alert" in rule
    ]


def seconds(duration: str) -> float:
    """Seconds of a duration such as `5m`; raises ValueError for one of several units."""
    match = re.fullmatch(DURATION, duration)
    if match is None:
        raise ValueError(f"{duration!r} is no duration of one unit")
    return int(match[1]) * _SECONDS[match[2]]
