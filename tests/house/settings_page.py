"""`python -m tests.house.settings_page`: write the table of `agentexec config --markdown` into its page."""

from __future__ import annotations

from agentexec.cli.settings import settings_table
from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "settings.md"
BEGIN = "<!-- written by python -m tests.house.settings_page -->\n"
END = "\n<!-- end -->"


def updated(page: str) -> str:
    """The page with the table of the present settings between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{settings_table()}{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
