"""Files that a command writes where its options say."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from harness.errors import UsageError
from harness.report.folder import write_whole


def write_text(path: Path, text: str) -> None:
    """Write a file of the folder of `--report`, and its folders, whole or not at all; raises `UsageError`."""
    with suppress(OSError):  # the attempt to write says what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def keep_evidence(path: Path, source: Path, option: str) -> None:
    """Raise `UsageError` if the file of an option would replace what the command reads: a file, or one in a folder."""
    with suppress(OSError):  # of a file that is not there, or that cannot be read: both are reported later
        if path.samefile(source) or (
            path.is_file() and path.parent.samefile(source) and path.suffix != ".html"
        ):
            raise UsageError(f"{option} {path} would replace what {source} holds. Name another file.")
