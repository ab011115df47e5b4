"""`python -m tests.house.doctor_page`: write the table of the doctor's checks into its page."""

from __future__ import annotations

from harness.doctor.registry import table
from tests.house.sources import ROOT
from tests.house.written_page import WrittenPage

PAGE = WrittenPage(
    path=ROOT / "docs" / "reference" / "doctor.md", module="tests.house.doctor_page", table=table
)

if __name__ == "__main__":
    PAGE.write()
