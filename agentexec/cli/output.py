"""What several commands share: a client, and tables that line up."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agentexec.cli import exits
from agentexec.config import load_settings
from agentexec.producer.client import Client

LONGEST = 60  # characters of a cell


@contextmanager
def connected() -> Iterator[Client]:
    """A client for the servers of the environment."""
    with Client(settings=load_settings()) as client:
        yield client


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under a header, each cell one line and none wider than it must be."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def no(sentence: str) -> int:
    """Say on standard error why the answer is no; returns the exit code."""
    print(f"agentexec: {sentence}", file=sys.stderr)
    return exits.DIFFERENT


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable if len(printable) <= LONGEST else printable[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
