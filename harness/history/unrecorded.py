"""A mark that operations are missing, for a process that cannot record them: the disk is full, or a limit is reached.

The mark is a file of spaces that the runner writes before the run. Text takes their place then, which needs no further
space. The reader reports it as a problem of the history, so that no missing line accuses the system under test.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MARK = "unrecorded"
_SIZE = 512


def reserve(folder: Path) -> None:
    """Write the empty mark into the folder of a history; raises `OSError` if it cannot be written."""
    (folder / MARK).write_bytes(b" " * _SIZE)


def mark(folder: Path, why: str) -> None:
    """Note the reason; the first reason stays. A folder that cannot be written to at all stays as it is."""
    with suppress(OSError):
        if reason(folder) is None:
            descriptor = os.open(folder / MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(descriptor, why.encode()[:_SIZE], 0)
            finally:
                os.close(descriptor)


def reason(folder: Path) -> str | None:
    """Why operations of the history are missing; None if none are known to be."""
    with suppress(FileNotFoundError):
        return (folder / MARK).read_text(encoding="utf-8", errors="replace").strip() or None
    return None
