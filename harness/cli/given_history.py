"""The history that a user names."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.history import History

_WANTED = "Name a .jsonl file or a folder of them."
_GZIP = b"\x1f\x8b"


def given_history(path: Path) -> History:
    """The history in a file or a folder; raises `UsageError` if there is none that can be read."""
    try:
        if not path.exists():
            raise UsageError(f"There is no history at {path}. {_WANTED}")
        if (inner := path / "history").is_dir():
            names = ", ".join(sorted(one.name for one in inner.iterdir() if one.is_dir()))
            raise UsageError(
                f"{path} is the folder of a report. Name a history below it: {inner}/NAME, with NAME of {names}."
            )
        if path.is_file() and _is_compressed(path):
            raise UsageError(f"The history {path} is compressed. Unpack it with gzip -d.")
        return History.load(path)
    except OSError as error:
        raise UsageError(
            f"The history {error.filename} cannot be read: {error.strerror}. {_WANTED}"
        ) from None


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP
