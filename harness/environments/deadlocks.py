"""Counts the deadlocks of an environment's Postgres, from its log or, without access to that, from its statistics.

Those with a statement of a fault (`CAUSED`) are left out; only the log shows them.

The log is exact at once and outlives a crash of the server. The statistics (`pg_stat_database.deadlocks`) also work on
servers whose log the harness cannot read. They are those of one database, a session reports to them up to 10 s late or
when it ends, and a crash or a reset loses them; the number of commits shows that.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import psycopg

from harness.environments.base import WATCHING, Environment
from harness.environments.urls import plain_url
from harness.errors import FOREIGN_ERRORS, first_line
from harness.masking import masked

CAUSED = f"/* deadlock of {WATCHING} */"
"""A comment in the statements with which a fault causes deadlocks."""

_SECONDS = 5
_ERROR = re.compile(r"\bERROR:  deadlock detected\s*$")
_DETAIL = re.compile(r"^(?:.*?\bDETAIL:  |\t)(.*)$")
_LONGEST_DETAIL = 2_000
_MOST_DETAILS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadlocks:
    """The deadlocks since a moment: how many, by `log` or `statistics`, and the server's own words for each.

    `count` is None if neither of the two says it; then `why` is the reason.
    """

    count: int | None
    source: str
    details: tuple[str, ...] = ()
    why: str = ""

    def to_value(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


class _Statistics(NamedTuple):
    """Counters of one database; `reset` is when they were last set to 0."""

    deadlocks: int
    commits: int
    reset: str


class DeadlockWatch:
    """The deadlocks of a started environment, or of the Postgres behind a URL, from the moment at which it is made."""

    def __init__(self, servers: Environment | str) -> None:
        self._environment = None if isinstance(servers, str) else servers
        self._url = plain_url(servers if isinstance(servers, str) else servers.endpoints.database_url)
        log = self._log()
        self._by_log = bool(log)
        self._before = len(logged_deadlocks(log))
        self._statistics = None if self._by_log else self._counters()

    def found(self) -> Deadlocks:
        """The deadlocks so far. By statistics they are complete once the sessions of the system have ended."""
        if self._by_log:
            found = [one for one in logged_deadlocks(self._log())[self._before :] if CAUSED not in one]
            return Deadlocks(count=len(found), source="log", details=tuple(found[:_MOST_DETAILS]))
        before, now = self._statistics, self._counters()
        if isinstance(before, str) or isinstance(now, str) or before is None:
            why = f"the server's statistics cannot be read: {now if isinstance(now, str) else before}"
            return Deadlocks(count=None, source="statistics", why=why)
        if now.reset != before.reset or now.commits < before.commits or now.deadlocks < before.deadlocks:
            return Deadlocks(count=None, source="statistics", why="the server lost its statistics meanwhile")
        return Deadlocks(count=now.deadlocks - before.deadlocks, source="statistics")

    def _log(self) -> str:
        try:
            return "" if self._environment is None else self._environment.logs("postgres")
        except FOREIGN_ERRORS:  # a backend of another package may raise anything
            return ""

    def _counters(self) -> _Statistics | str:
        """The counters, or why they cannot be read."""
        if not self._url:
            return "there is no database"
        query = """SELECT deadlocks, xact_commit, coalesce(stats_reset::text, '')
            FROM pg_stat_database WHERE datname = current_database()"""
        try:
            with psycopg.connect(self._url, connect_timeout=_SECONDS, autocommit=True) as connection:
                connection.execute(f"SET statement_timeout = '{_SECONDS}s'")
                row = connection.execute(query).fetchone()
        except psycopg.Error as error:
            return masked(first_line(error))
        return "there are none of this database" if row is None else _Statistics(*row)


def logged_deadlocks(log: str) -> list[str]:
    """The details of each deadlock in a log of Postgres, masked; empty text for one that was logged without them."""
    found: list[str] = []
    lines = iter(log.splitlines())
    line = next(lines, None)
    while line is not None:
        is_deadlock = _ERROR.search(line) is not None
        line = next(lines, None)
        if is_deadlock:
            details: list[str] = []
            while line is not None and (detail := _DETAIL.match(line)):
                details.append(detail[1].strip())
                line = next(lines, None)
            found.append(masked("\n".join(details))[:_LONGEST_DETAIL])
    return found
