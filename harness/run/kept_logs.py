"""The logs of a run, kept beside its history: those of the pools and of the servers, masked and bounded in size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.environments.base import SERVICES, Environment, Service
from harness.history import OperationType, Recorder
from harness.history.figures import counted
from harness.history.names import CLOCK
from harness.masking import masked

FIRST_CHARACTERS = 1 << 19
LAST_CHARACTERS = 3 << 19
"""The beginning and the end of a log that are kept; the lines between them are left out."""

LONGEST_LINE = 4_000
"""The most characters of one line that are kept."""


def record_clock(recorder: Recorder) -> None:
    """Record the time of day, so that lines of logs can be compared with operations."""
    recorder.record(OperationType.INFO, CLOCK, wall=datetime.now(UTC).isoformat(timespec="microseconds"))


@contextmanager
def kept_logs(environment: Environment, folder: Path) -> Iterator[None]:
    """Run the body, then write what each server logged so far as `postgres.log` and so on.

    The logs of pools in the same folder are masked and bounded too; their processes have ended by then.
    """
    try:
        yield
    finally:
        for log in folder.glob("*.log"):
            if text := _ends(log):
                _write(log, text)
        for service in SERVICES:
            if text := _log(environment, service):
                _write(folder / f"{service}.log", text)


def bounded(text: str) -> str:
    """The first and the last lines of the text, masked; a line between them says how many are left out."""
    lines = deque(_short(line) for line in text.splitlines(keepends=True))
    first = _taken(lines.popleft, lines, FIRST_CHARACTERS)
    last = _taken(lines.pop, lines, LAST_CHARACTERS)
    left_out = [f"[{counted(len(lines), 'line', 'are')} left out here]\n"] if lines else []
    return "".join([*first, *left_out, *reversed(last)])


def _taken(take: Callable[[], str], lines: deque[str], most: int) -> list[str]:
    found: list[str] = []
    while lines and most > 0:
        found.append(take())
        most -= len(found[-1])
    return found


def _short(line: str) -> str:
    line = masked(line)
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} [cut]\n"


def _log(environment: Environment, service: Service) -> str:
    try:
        return environment.logs(service)
    except Exception:  # noqa: BLE001 - a log that cannot be read must not change the verdict of a run
        return ""


def _ends(path: Path) -> str:
    """The text of a file; of a large one only the lines at its ends, so that its size does not matter."""
    first, last = FIRST_CHARACTERS, LAST_CHARACTERS
    try:
        with path.open("rb") as file:
            if (size := path.stat().st_size) <= 2 * (first + last):
                return file.read().decode(errors="replace")
            begin = file.read(first).rpartition(b"\n")[0]
            file.seek(size - last)
            end = file.read(last).partition(b"\n")[2]
    except OSError:
        return ""
    left_out = size - len(begin) - len(end)
    return f"{begin.decode(errors='replace')}\n[{left_out:,} bytes are left out here]\n{end.decode(errors='replace')}"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(bounded(text), "utf-8")
        part.replace(path)
    except OSError:  # a full disk: the report says so, since it cannot be written either
        part.unlink(missing_ok=True)
