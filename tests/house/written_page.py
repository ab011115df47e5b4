"""A page of the documents of which one table is written by a program, between two marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

END = "\n<!-- end -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenPage:
    """A page, the module that writes it, and what gives its table in Markdown."""

    path: Path
    module: str
    table: Callable[[], str]

    @property
    def begin(self) -> str:
        """The mark before the table."""
        return f"<!-- written by python -m {self.module} -->\n"

    def updated(self, page: str) -> str:
        """The page with the present table between its marks."""
        before, begin, rest = page.partition(self.begin)
        _, end, after = rest.partition(END)
        return f"{before}{begin}{self.table()}{end}{after}"

    def write(self) -> None:
        """Write the present table into the page."""
        self.path.write_text(self.updated(self.path.read_text("utf-8")), "utf-8")
