"""Parts of every command line: parser errors as exceptions, argument types, SIGTERM, and the installed version."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Never

from harness.errors import UsageError

# Numbers with more digits have no use as an option, and not all of them are floats.
_LONGEST_NUMBER = 15


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError` instead of exiting, so that wrong usage is one sentence and exit code 64."""

    def error(self, message: str) -> Never:
        """Raise `UsageError` with the message and a hint to --help."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception, like Ctrl-C, so that context managers stop all that was started."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise `Terminated` in the main thread on SIGTERM."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def report_interrupt(program: str, interrupt: KeyboardInterrupt) -> int:
    """Print one sentence about an interrupt on stderr and return the exit code, 130 or 143."""
    number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
    print(f"{program}: interrupted by {number.name}; all its processes are stopped.", file=sys.stderr)
    return 128 + number


def positive(text: str) -> int:
    """An argument type: a whole number of 1 or more."""
    number = int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"{text[:_LONGEST_NUMBER]!r} is not a whole number of 1 or more, with at most {_LONGEST_NUMBER} digits"
        )
    return number


def filled_path(text: str) -> Path:
    """An argument type: a path. An empty text is none: it would stand for the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} names no file and no folder; give a path, or . for this folder"
        )
    return Path(text)


def above_zero(most: int) -> Callable[[str], float]:
    """An argument type: a number above 0, at most `most`."""

    def number(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 < found <= most:  # false for NaN too
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, at most {most:,}")
        return found

    return number


def flag(name: str) -> str:
    """The option of a name in the parsed options: `--load-drain` of `load_drain`."""
    return f"--{name.replace('_', '-')}"


def number_word(number: float) -> str:
    """A number as a word of a command, as short as it stays exact."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def installed_version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("agentexec-harness")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _terminate(_number: int, _frame: FrameType | None) -> Never:
    raise Terminated
