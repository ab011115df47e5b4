"""Runs Locust as a child process, because gevent patches the whole process."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, TargetFailed
from harness.masking import masked

_PROGRESS_SECONDS = 5.0
_TERMINATION_SECONDS = 5.0
_LAST_LINES = 12
_VERDICTS = (EXIT_VALID, EXIT_INVALID, EXIT_UNKNOWN)
# The name of the machine in Locust's log lines, which is removed from the report.
_MACHINE = re.compile(r"^(\[[^\]]+\] )[^/\s]+/", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class LocustCommand:
    """Locust on a file, with its verdict in `report`. `options` follow the others; none of them may be a URL."""

    file: Path
    database: str
    queue: str
    report: Path
    options: Sequence[str] = ()

    def words(self) -> list[str]:
        """The command line, without URLs, because they contain passwords."""
        values = {
            "--locustfile": self.file,
            "--load-database": self.database,
            "--load-queue": self.queue,
            "--load-report": self.report,
            "--html": self.report / "locust.html",
        }
        words = [str(word) for pair in values.items() for word in pair]
        return [sys.executable, "-m", "locust", "--headless", "--only-summary", *words, *self.options]


def run_locust(
    command: LocustCommand,
    *,
    variables: Mapping[str, str],
    folder: Path,
    within: float | None,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Run Locust in a folder until it has judged its load; returns its exit code: 0, 1 or 2.

    Raises `TargetFailed` with the end of Locust's output if it ends otherwise, or not `within` seconds. Its output is
    `locust.log` in the folder of the report. `progress` is called every few seconds.
    """
    verdict = command.report / "verdict.json"
    before = _identity(verdict)
    # Not a file of the folder: that may be the user's own, and the output is not masked yet.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command.words(),
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal must reach this process only, which then stops everything in order.
            start_new_session=True,
        )
        try:
            code = _wait(process, within, progress)
        finally:
            _end(process)
            output.seek(0)
            output_text = _MACHINE.sub(r"\1", masked(output.read().decode("utf-8", "replace")))
            (command.report / "locust.log").write_text(output_text, encoding="utf-8")
    # The folder may have the verdict of an earlier run.
    if code not in _VERDICTS or _identity(verdict) in (None, before):
        how = "did not end in time" if code is None else f"ended with code {code}"
        last = "\n".join(output_text.strip().splitlines()[-_LAST_LINES:]) or "nothing"
        raise TargetFailed(f"Locust {how}. It wrote: {last}")
    return code


def require_locust() -> None:
    """Raise `TargetFailed` if Locust is not installed. Importing it would patch this process."""
    if importlib.util.find_spec("locust") is None:
        raise TargetFailed(
            "Locust is not installed for this Python. Install it with the extra: agentexec-harness[load]."
        )


def _identity(file: Path) -> tuple[int, int] | None:
    """What differs between two files that were written to the same path; None if there is no file."""
    with suppress(FileNotFoundError):
        found = file.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _wait(process: subprocess.Popen[bytes], within: float | None, progress: Callable[[], None]) -> int | None:
    """The exit code, or None if the process does not end in time."""
    deadline = None if within is None else time.monotonic() + within
    while (left := _PROGRESS_SECONDS if deadline is None else deadline - time.monotonic()) > 0:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(min(_PROGRESS_SECONDS, left))
        progress()
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_TERMINATION_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
