"""The code of the production guide as it prints it, and the safe forms of docs/reference/guide.md.

The guide: https://github.com/Agent-CI/agentexec/blob/de93097/docs/deployment/production.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.support.environment import ROOT

# A heading, lines without another heading or block, and the first block below it.
BLOCK = re.compile(
    r"^#{2,3} (?P<heading>.+)\n(?P<between>(?:(?!#{1,3} |```).*\n)*)```\w+\n(?P<code>(?:(?!```).*\n)*)```",
    re.MULTILINE,
)


def as_written() -> Mapping[str, str]:
    """The blocks of the guide, verbatim, by their headings in `guide_code.md`."""
    return _blocks(ROOT / "tests" / "data" / "guide_code.md")


def safe_forms() -> Mapping[str, str]:
    """The first block below each heading of the page that goes through the guide."""
    return _blocks(ROOT / "docs" / "reference" / "guide.md")


def _blocks(path: Path) -> Mapping[str, str]:
    return {found["heading"]: found["code"] for found in BLOCK.finditer(path.read_text("utf-8"))}
