"""The rules with shorter durations, so that a proof of all of them takes minutes.

One factor divides every duration: each `for`, each range such as `[5m]`, and the threshold of each figure whose name
has `_seconds`. Scrapes and evaluations are divided less, down to a second: they only find later what happened.
"""

from __future__ import annotations

import io
import re
from typing import Any

from ruamel.yaml import YAML

from tests.alerts.rules import CONFIGURATION, DURATION, RULES, load, rules, seconds

FACTOR = 20
SCRAPE_SECONDS = 1.0
LOOKBACK_SECONDS = 300.0  # Prometheus' default: a figure that is older is gone
_RANGE = re.compile(rf"\[{DURATION}\]")
_THRESHOLD = re.compile(r"(_seconds[\w:]*\s*>\s*)(\d+(?:\.\d+)?)")


def scaled_rules(text: str, factor: float = FACTOR) -> str:
    """The rules with every duration divided by the factor."""
    document = load(text)
    for rule in rules(document):
        rule["expr"] = scaled(rule["expr"], factor)
        if "for" in rule:
            rule["for"] = shorter(rule["for"], factor)
    return dump(document)


def scaled(expression: str, factor: float = FACTOR) -> str:
    """An expression with its ranges and its thresholds in seconds divided by the factor."""
    ranges = _RANGE.sub(lambda found: f"[{shorter(found[0][1:-1], factor)}]", expression)
    return _THRESHOLD.sub(lambda found: f"{found[1]}{float(found[2]) / factor:g}", ranges)


def shorter(duration: str, factor: float = FACTOR) -> str:
    """A duration divided by the factor, in milliseconds."""
    return f"{1000 * seconds(duration) / factor:.0f}ms"


def proof_rules() -> str:
    """The rules of deploy/prometheus for the proof."""
    return scaled_rules(RULES.read_text("utf-8"))


def proof_configuration(rules_file: str, targets: str) -> str:
    """The configuration of deploy/prometheus for the proof; `targets` is a folder with a file for each job."""
    document = load(CONFIGURATION.read_text("utf-8"))
    every = f"{1000 * SCRAPE_SECONDS:.0f}ms"
    document["global"] = dict.fromkeys(document["global"], every)
    document["rule_files"] = [rules_file]
    for job in document["scrape_configs"]:
        for discovery in ("dns_sd_configs", "static_configs"):
            job.pop(discovery, None)
        job["file_sd_configs"] = [{"files": [f"{targets}/{job['job_name']}.json"], "refresh_interval": "1s"}]
    return dump(document)


def dump(document: Any) -> str:
    """A document as YAML."""
    text = io.StringIO()
    yaml = YAML(typ="safe")
    yaml.width = 4096
    yaml.dump(document, text)
    return text.getvalue()
