"""What a run is doing, for people: one line that is rewritten on a terminal, plain lines anywhere else."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_ASCII = "|/-\\"
_FRAME = 0.12


class Progress(Protocol):
    """Takes note of what happens; safe to use from any thread."""

    def step(self, text: str) -> None:
        """Something new begins, or a fact worth a line of its own."""
        ...

    def update(self, text: str) -> None:
        """How far the present step has come; may be called often."""
        ...


class Quiet:
    """Says nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def update(self, text: str) -> None:
        """Nothing."""


class PlainLines:
    """One line for each step, with the seconds since the start; updates are too many for a log and are left out."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._start = time.monotonic()

    def step(self, text: str) -> None:
        """A line with the time."""
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=self._out, flush=True)

    def update(self, text: str) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Spinner:
    """One line that turns and is rewritten; wiped at the end. Use as a context manager."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._frames = _FRAMES if "utf" in (self._out.encoding or "").lower() else _FRAMES_ASCII
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._step = self._detail = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="spinner", daemon=True)

    def step(self, text: str) -> None:
        """Replace the line."""
        with self._lock:
            self._step, self._detail = text, ""

    def update(self, text: str) -> None:
        """Replace the end of the line."""
        with self._lock:
            self._detail = text

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._write("")

    def _turn(self) -> None:
        turn = 0
        while not self._stopped.wait(_FRAME):
            with self._lock:
                text = f"{self._step}  {self._detail}".rstrip()
            frame = self._frames[turn % len(self._frames)]
            self._write(
                f"{frame} {time.monotonic() - self._start:5.1f} s  {text}"[
                    : shutil.get_terminal_size().columns - 1
                ]
            )
            turn += 1

    def _write(self, line: str) -> None:
        self._out.write(f"\r\x1b[2K{line}")
        self._out.flush()


def progress_on(out: TextIO | None = None) -> PlainLines | Spinner:
    """What suits the stream (default stderr): a spinner on a terminal, plain lines elsewhere."""
    stream = out or sys.stderr
    return Spinner(stream) if stream.isatty() else PlainLines(stream)
