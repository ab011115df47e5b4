"""The folder of the reports: created and tested before the run, and locked for its duration.

A file in it is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError
from harness.report.load_link import remove_loads

WRITTEN = ("report.html", "verdict.json", "junit.xml")
"""The files of a report."""
REMEDY = "free some space or name another folder with --report DIR."


def prepare_folder(folder: Path) -> Path:
    """Create the folder with its parents, test that a file can be written there, and return its absolute path.

    Raises `UsageError` that says why not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"a file without a byte fits on a full disk")
        return folder.resolve()
    except OSError as error:
        raise UsageError(
            f"The report folder {folder} cannot be written to ({os.strerror(error.errno or 0)}); "
            "name another one with --report DIR."
        ) from None


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Prepare the folder and lock it; raises `UsageError` if another run has it.

    The folder itself is locked: no file remains, and the kernel releases the lock when this process ends.
    """
    prepared = prepare_folder(folder)
    # Not inherited by the processes that the run starts.
    descriptor = os.open(prepared, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"Another run is writing into the report folder {folder}; "
                "wait for its end, or name another one with --report DIR."
            ) from None
        except OSError:
            pass  # a file system without such locks
        yield prepared
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def claimed_folder(folder: Path) -> Iterator[Path]:
    """Lock the folder for one run, and remove the reports of an earlier one, which would outlast a crash."""
    with locked_folder(folder) as prepared:
        for name in WRITTEN:
            (prepared / name).unlink(missing_ok=True)
        remove_loads(prepared)
        yield prepared


def write_whole(path: Path, content: str, *, remedy: str = REMEDY) -> None:
    """Replace a file, so that a reader (a browser, a CI step) never sees a part of it.

    A device or a pipe, such as /dev/stdout, is written to and never replaced. Raises `UsageError` that says why not,
    with the `remedy`.
    """
    part = path.parent / f".{path.name}.{os.getpid()}"
    try:
        if path.is_dir():
            raise OSError(errno.EISDIR, path)
        if path.exists() and not path.is_file():
            path.write_text(content, encoding="utf-8", errors="replace")
            return
        part.write_text(content, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UsageError(
            f"The report {path} cannot be written ({os.strerror(error.errno or 0)}); {remedy}"
        ) from None
