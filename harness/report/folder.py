"""The folder of the reports. It is created and tested before the run, so that the results of a run have a place.

A file in it is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from harness.errors import UsageError

REMEDY = "free some space or name another folder with --report DIR."


def prepare_folder(folder: Path) -> Path:
    """Create the folder with its parents, test that a file can be written there, and return its absolute path.

    Raises `UsageError` that says why not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise UsageError(
            f"The report folder {folder} cannot be written to ({os.strerror(error.errno or 0)}); "
            "name another one with --report DIR."
        ) from None


def write_whole(path: Path, content: str, *, remedy: str = REMEDY) -> None:
    """Replace a file, so that a reader (a browser, a CI step) never sees a part of it.

    Raises `UsageError` that says why not, with the `remedy`.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UsageError(
            f"The report {path} cannot be written ({os.strerror(error.errno or 0)}); {remedy}"
        ) from None
