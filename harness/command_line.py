"""Parts of every command line: parser errors as exceptions, argument types, exit codes, and the installed version."""

from __future__ import annotations

import argparse
import errno
import io
import json
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, Never

from harness.errors import EXIT_UNKNOWN, EXIT_USAGE, HarnessError, UsageError
from harness.masking import masked_words, one_line, terminal_safe

# Numbers with more digits have no use as an option, and not all of them are floats.
_LONGEST_NUMBER = 15
_LONGEST_SEED = 40
_MOST_JOBS = 256
_SMALLEST = 1e-6
_STDERR = 2

# What a full or protected disk answers.
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_FREE = "free some space, or choose another disk with --report DIR and TMPDIR."


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError` instead of exiting, so that wrong usage is one sentence and exit code 64."""

    def error(self, message: str) -> Never:
        """Raise `UsageError` with the message and a hint to --help."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception, like Ctrl-C, so that context managers stop all that was started."""


def exit_code_of(program: str, call: Callable[[], int], given: Sequence[str] = ()) -> int:
    """Call the body of a program and return its exit code.

    An error of the harness, a disk that takes nothing, Ctrl-C and SIGTERM are one sentence on stderr; `given`, the
    arguments, are searched for parts of a password, and with `--debug` among them a traceback comes first.
    """
    _require_streams()
    with sigterm_raises():
        try:
            code = call()
            sys.stdout.flush()
            return code
        except HarnessError as error:
            wrong = one_line(error) if error.exit_code == EXIT_USAGE else str(error)
            return _complain(program, wrong, error.exit_code, given)
        except KeyboardInterrupt as interrupt:
            return report_interrupt(program, interrupt)
        except BrokenPipeError:  # `harness chaos list | head`
            _drop_output()
            return EXIT_UNKNOWN
        except OSError as error:
            if not is_storage(error):
                raise
            try:
                sys.stdout.flush()
            except OSError:
                _drop_output()
            where = error.filename or "A file, or the output of this command,"
            sentence = f"{where} cannot be written ({error.strerror}); {_FREE}"
            return _complain(program, sentence, EXIT_UNKNOWN, given)


def is_storage(error: BaseException) -> bool:
    """Whether the error is that of a full or protected disk."""
    return isinstance(error, OSError) and error.errno in _STORAGE


def _require_streams() -> None:
    """Let output go nowhere that has no place to go, and show what the encoding of a place lacks as an escape.

    A standard stream may be closed at the start; the next file that is opened would then be in its place.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let what is still buffered for stdout vanish: Python would write it at its end, and complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(program: str, sentence: str, code: int, given: Sequence[str]) -> int:
    with suppress(OSError):
        if "--debug" in given:
            print(terminal_safe(masked_words(traceback.format_exc(), given)), file=sys.stderr)
        print(f"{program}: {terminal_safe(masked_words(sentence, given))}", file=sys.stderr, flush=True)
    return code


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


def job_count(text: str) -> int:
    """An argument type: how many processes at a time, which a machine must be able to start."""
    number = positive(text)
    if number > _MOST_JOBS:
        raise argparse.ArgumentTypeError(
            f"{number} processes at a time are too many; give at most {_MOST_JOBS}"
        )
    return number


def whole(text: str) -> int:
    """An argument type: a whole number of any sign, such as a seed."""
    if not re.fullmatch(rf"[+-]?[0-9]{{1,{_LONGEST_SEED}}}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:_LONGEST_SEED]!r} is not a whole number of at most {_LONGEST_SEED} digits"
        )
    return int(text)


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
            raise argparse.ArgumentTypeError(
                f"{text[:_LONGEST_SEED]!r} is not a number above 0, at most {most:,}"
            )
        if found < _SMALLEST:
            raise argparse.ArgumentTypeError(f"{text[:_LONGEST_SEED]!r} is less than {_SMALLEST:g}")
        return found

    return number


def read_json(path: Path, remedy: str, *, parse_float: Callable[[str], Any] = float) -> Any:
    """The document in a file, in any encoding of Unicode; raises `UsageError` with the remedy if there is none."""
    try:
        return json.loads(path.read_bytes(), parse_float=parse_float)
    except OSError as error:
        why = str(error.strerror)
    except RecursionError:
        why = "it is not JSON that can be read (nested too deep)"
    except ValueError as error:
        why = f"it is not JSON ({error})"
    raise UsageError(f"{path} cannot be read: {why}; {remedy}")


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
