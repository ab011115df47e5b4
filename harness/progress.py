"""Progress of a run for people: one rewritten line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TextIO

from harness.masking import one_line

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_ASCII = "|/-\\"
_FRAME_SECONDS = 0.12


class Progress(Protocol):
    """Receives messages about the progress of a run; safe to use from any thread."""

    def step(self, text: str) -> None:
        """A new step begins, or an event deserves its own line."""
        ...

    def update(self, text: str) -> None:
        """The progress within the current step; may be called often."""
        ...


class Quiet:
    """Prints nothing."""

    def step(self, text: str) -> None:
        """Do nothing."""

    def update(self, text: str) -> None:
        """Do nothing."""


class PlainLines:
    """Prints one line per step with the seconds since the start; updates are too frequent for a log."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._start = time.monotonic()

    def step(self, text: str) -> None:
        """Print the text with the seconds since the start."""
        with suppress(OSError):  # a log that is full or gone stops no run
            print(f"[{time.monotonic() - self._start:6.1f} s] {one_line(text)}", file=self._out, flush=True)

    def update(self, text: str) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Spinner:
    """Rewrites one line with a turning symbol and erases it at the end. A context manager."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._frames = _FRAMES if "utf" in (self._out.encoding or "").lower() else _FRAMES_ASCII
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._step = self._detail = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._animate, name="spinner", daemon=True)

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

    def _animate(self) -> None:
        turn = 0
        while not self._stopped.wait(_FRAME_SECONDS):
            with self._lock:
                text = f"{one_line(self._step)}  {one_line(self._detail)}".rstrip()
            frame = self._frames[turn % len(self._frames)]
            self._write(
                f"{frame} {time.monotonic() - self._start:5.1f} s  {text}"[
                    : shutil.get_terminal_size().columns - 1
                ]
            )
            turn += 1

    def _write(self, line: str) -> None:
        with suppress(OSError):
            self._out.write(f"\r\x1b[2K{line}")
            self._out.flush()


def is_animated(stream: TextIO) -> bool:
    """Whether the stream is a terminal that may get control sequences.

    TERM=dumb, NO_COLOR and CI (the variable of every CI system) ask for plain text.
    """
    dumb = os.environ.get("TERM") in ("dumb", "unknown")
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return stream.isatty() and not (dumb or in_ci or os.environ.get("NO_COLOR"))


def progress_on(out: TextIO | None = None) -> PlainLines | Spinner:
    """A spinner if the stream (default stderr) is animated, plain lines otherwise."""
    stream = out or sys.stderr
    return Spinner(stream) if is_animated(stream) else PlainLines(stream)
