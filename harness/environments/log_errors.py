"""Counts the errors in the logs of servers: ERROR, FATAL and PANIC of Postgres, and warnings of Redis or Valkey."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.environments.base import SERVICES, Environment, Service
from harness.errors import FOREIGN_ERRORS, first_line
from harness.masking import one_line

_MOST_SENTENCES = 5
_LONGEST_SENTENCE = 200
# The first severity of a line is its own; a statement or a message may quote others. A tab continues a message.
_LINES = {
    "postgres": re.compile(r"(?!\t).*?\b(?P<severity>[A-Z]+\d?):  (?P<sentence>.*)"),
    "redis": re.compile(r"\d+:[A-Z] .*? (?P<severity>[-.*#]) (?P<sentence>.*)"),
}
_SEVERE = frozenset({"ERROR", "FATAL", "PANIC", "#"})

LogReader = Callable[[], str]
"""Reads the log of a server so far; empty text if there is no access to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedErrors:
    """The errors that a server logged: how many, and the first different sentences, without secrets.

    `count` is None if the log cannot be read; then `why` is the reason.
    """

    service: Service
    count: int | None
    sentences: tuple[str, ...] = ()
    why: str = ""

    @property
    def text(self) -> str:
        """One line for people, such as "errors in the log of postgres: 2, such as: ..."."""
        if self.count is None:
            return f"errors in the log of {self.service}: not measurable, {self.why}"
        first = f", such as: {'; '.join(self.sentences)}" if self.sentences else ""
        return f"errors in the log of {self.service}: {self.count}{first}"

    def to_value(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


class LogWatch:
    """The errors in the logs of servers from the moment at which it is made."""

    def __init__(self, logs: Mapping[Service, LogReader]) -> None:
        self._logs = logs
        self._before = {service: _read(reader) for service, reader in logs.items()}

    @classmethod
    def of(cls, environment: Environment) -> LogWatch:
        """Watch the servers of a started environment."""
        return cls({service: partial(environment.logs, service) for service in SERVICES})

    def found(self) -> list[LoggedErrors]:
        """The errors of each server so far."""
        return [self._found(service) for service in self._logs]

    def _found(self, service: Service) -> LoggedErrors:
        before, now = self._before[service], _read(self._logs[service])
        if not before.text or not now.text:  # a server that has started has logged that
            why = before.why or now.why or "the harness has no access to the log of this server"
            return LoggedErrors(service=service, count=None, why=why)
        start = len(before.text) if len(now.text) >= len(before.text) else 0
        errors = list(logged_errors(service, now.text[start:]))
        return LoggedErrors(
            service=service,
            count=len(errors),
            sentences=tuple(dict.fromkeys(errors))[:_MOST_SENTENCES],
        )


@dataclass(frozen=True, slots=True)
class _Read:
    text: str
    why: str = ""


def _read(reader: LogReader) -> _Read:
    try:
        return _Read(reader())
    except FOREIGN_ERRORS as error:  # a backend of another package may raise anything
        return _Read("", f"the log cannot be read: {first_line(error)}")


def log_file(path: Path) -> LogReader:
    """Reads the log of a server from a file."""
    return lambda: path.read_text("utf-8", errors="replace")


def logged_errors(service: Service, log: str) -> Iterator[str]:
    """The sentence of each error in a log, in one line and without secrets."""
    for line in log.splitlines():
        found = _LINES[service].fullmatch(line)
        if found is not None and found["severity"] in _SEVERE:
            yield one_line(found["sentence"])[:_LONGEST_SENTENCE]
