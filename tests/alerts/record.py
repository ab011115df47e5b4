"""What the last proof measured, kept beside the rules that it proved, and the table that the page shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.report.scales import seconds_text
from tests.alerts.proof import QUIET_SECONDS, SLACK_SECONDS, Proven
from tests.alerts.rules import RULES, alerts, load, rules
from tests.alerts.scaling import FACTOR
from tests.house.sources import ROOT
from tests.house.written_page import WrittenPage

RECORD = ROOT / "tests" / "data" / "alerts.json"


def digest() -> str:
    """Of all expressions and durations of the rules: a change of one of them has to be proven again."""
    found = [
        [rule.get("record") or rule["alert"], rule["expr"].split(), rule.get("for")]
        for rule in rules(load(RULES.read_text("utf-8")))
    ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def save(proven: Sequence[Proven]) -> None:
    """Keep what a whole proof measured."""
    document = {"rules": digest(), "factor": FACTOR, "proven": [asdict(one) for one in proven]}
    RECORD.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def record() -> dict[str, Any]:
    """What the last whole proof measured."""
    found: dict[str, Any] = json.loads(RECORD.read_text("utf-8"))
    return found


def table() -> str:
    """One line for each alert: what was done, its `for`, and when it fired."""
    proven = {one["alert"]: one for one in record()["proven"]}
    lines = [
        f"Durations are divided by {FACTOR}. Without a cause, none fired in {QUIET_SECONDS:g} s.",
        "",
        f"| alert | cause | `for` | divided | allowed: {SLACK_SECONDS:g} s more | fired after |",
        "|---|---|---|---|---|---|",
    ]
    for one in alerts():
        hold = one.hold_seconds / FACTOR
        cells = [
            f"[`{one.name}`](#{one.name.lower()})",
            proven[one.name]["what"],
            seconds_text(one.hold_seconds) if one.hold_seconds else "0",
            f"{hold:g} s",
            f"{hold + SLACK_SECONDS:g} s",
            f"{proven[one.name]['seconds']:.1f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


PAGE = WrittenPage(path=ROOT / "docs" / "howto" / "alerts.md", module="tests.alerts", table=table)
