"""Files that a command writes to the folder of its option `--report`."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError


def write_text(path: Path, text: str) -> None:
    """Write a file and its folders; raises `UsageError` if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Choose another --report folder."
        ) from None
