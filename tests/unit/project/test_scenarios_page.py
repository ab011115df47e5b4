"""The page of the scenarios lists what ships, with its tags."""

from __future__ import annotations

import re
from pathlib import Path

import chaos

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "scenarios.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", re.MULTILINE)


def test_the_page_lists_every_scenario_with_its_tags() -> None:
    listed = ROW.findall(PAGE.read_text("utf-8"))
    assert listed == [(name, ", ".join(one.tags)) for name, one in chaos.SCENARIOS.items()]
