"""The command line as a table: each handler registers its command, arguments and help. Its output and errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from agentexec.errors import AgentexecError
from agentexec.masking import masked

N = TypeVar("N", int, float)
Handler = Callable[[argparse.Namespace], int | None]
HandlerT = TypeVar("HandlerT", bound=Handler)
Argument = tuple[tuple[str, ...], dict[str, Any]]

LONGEST = 60  # characters of a cell
# Exit codes; where sysexits.h has a name for one, with its value.
OK, USAGE, CONFIGURATION = 0, 64, 78
DIFFERENT = 1  # tables differ, or an id is unknown
UNAVAILABLE = 69  # a server refuses a request or does not answer

GROUPS = {
    "db": "upgrade, check or create the tables",
    "activities": "list, show or cancel activities",
    "queue": "let a queue serve another activity store",
    "dlq": "list, show, requeue or purge dead letters",
}

_commands: list[tuple[str, Handler, tuple[Argument, ...], bool]] = []


def command(path: str, *arguments: Argument, exclusive: bool = False) -> Callable[[HandlerT], HandlerT]:
    """Register a handler as a command such as "dlq list"; its docstring is the help.

    The handler returns the exit code, None for 0. With `exclusive` exactly one of the arguments must be given.
    """

    def register(handler: HandlerT) -> HandlerT:
        _commands.append((path, handler, arguments, exclusive))
        return handler

    return register


def argument(*names: str, **options: Any) -> Argument:
    """An argument of a command, as `ArgumentParser.add_argument` takes it."""
    return names, options


MANY = 1_000_000  # no page has a higher number, and no list more rows
JSON = argument("--json", action="store_true", help="print JSON")


def number(kind: type[N], low: int, high: int) -> Callable[[str], N]:
    """The type of an argument that is a number from `low` to `high`."""

    def parse(text: str) -> N:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low} to {high}")
        return value

    parse.__name__ = kind.__name__  # for argparse's message about text that is not a number
    return parse


class CommandParser(argparse.ArgumentParser):
    """A parser that explains wrong usage in one sentence and exits with 64."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"agentexec: {message}; see `{self.prog} --help`.\n")

    def add_commands(self) -> None:
        """Add all registered commands."""
        parents = {"": self.add_subparsers(required=True, metavar="COMMAND")}
        for path, handler, arguments, exclusive in _commands:
            group, _, name = path.rpartition(" ")
            if group not in parents:
                parser = parents[""].add_parser(group, help=GROUPS[group])
                parents[group] = parser.add_subparsers(required=True, metavar="ACTION")
            sentence = (handler.__doc__ or "").rstrip(".")
            parser = parents[group].add_parser(name, help=sentence[:1].lower() + sentence[1:])
            parser.set_defaults(run=handler)
            target = parser.add_mutually_exclusive_group(required=True) if exclusive else parser
            for names, options in arguments:
                target.add_argument(*names, **options)


class NegativeResult(AgentexecError):
    """Ends a command with a sentence on standard error and an exit code other than 0."""

    def __init__(self, sentence: str, code: int = DIFFERENT) -> None:
        super().__init__(sentence)
        self.code = code


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned rows under a header; each cell is one line of at most `LONGEST` characters, secrets masked."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def print_error(text: str, *, before: str = "agentexec: ") -> None:
    """Print a text on standard error, secrets masked; nothing if it is closed."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(f"{before}{masked(text)}", file=sys.stderr)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(masked(str(value)).split())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable if len(printable) <= LONGEST else printable[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
