"""Output of the commands: tables, errors, and the negative result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from agentexec.cli.parsing import DIFFERENT
from agentexec.errors import AgentexecError
from agentexec.masking import masked

LONGEST = 60  # characters of a cell


class NegativeResult(AgentexecError):
    """Ends a command with a sentence on standard error and an exit code other than 0."""

    def __init__(self, sentence: str, code: int = DIFFERENT) -> None:
        super().__init__(sentence)
        self.code = code


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned rows under a header; each cell is one line of at most `LONGEST` characters, secrets masked."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def print_error(sentence: str) -> None:
    """Print a sentence on standard error, secrets masked; nothing if it is closed."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(f"agentexec: {masked(sentence)}", file=sys.stderr)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(masked(str(value)).split())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable if len(printable) <= LONGEST else printable[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
