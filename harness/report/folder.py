"""The folder of the reports. It is created and tested before the run, so that the results of a run have a place."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import UsageError


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
