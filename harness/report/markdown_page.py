"""Parts of pages of the documentation that a command writes: tables, and text in lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

_WIDTH = 118


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int | None = None
) -> str:
    """A table; its columns from the number `numbers_from` on, counted from 0, are aligned to the right."""
    left = len(header) if numbers_from is None else numbers_from
    rule = ["---"] * left + ["--:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in [header, rule, *rows])


def wrapped(text: str, first: str = "", rest: str = "") -> str:
    """The text in lines of a page, which begin with `first` and then with `rest`."""
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
