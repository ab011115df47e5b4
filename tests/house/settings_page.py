"""`python -m tests.house.settings_page`: write the table of `agentexec config --markdown` into its page."""

from __future__ import annotations

from agentexec.cli.settings import settings_table
from tests.house.sources import ROOT
from tests.house.written_page import WrittenPage

PAGE = WrittenPage(
    path=ROOT / "docs" / "reference" / "settings.md", module="tests.house.settings_page", table=settings_table
)

if __name__ == "__main__":
    PAGE.write()
