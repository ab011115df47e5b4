"""`python -m tests.house.doctor_page`: write the table of the doctor's checks into its page."""

from __future__ import annotations

from harness.doctor.registry import table
from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "doctor.md"
BEGIN = "<!-- written by python -m tests.house.doctor_page -->\n"
END = "\n<!-- end -->"


def updated(page: str) -> str:
    """The page with the table of the present checks between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{table()}{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
