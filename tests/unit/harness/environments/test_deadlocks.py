"""Deadlocks are counted from the log of a server, or from its statistics where the log cannot be read."""

from __future__ import annotations

from typing import cast

import pytest

from harness.environments.base import Endpoints, Environment
from harness.environments.deadlocks import Deadlocks, DeadlockWatch, _Statistics, logged_deadlocks

PREFIX = "2026-01-02 03:04:05.678 UTC [42] harness@postgres "
DETAIL = "Process 42 waits for ShareLock on transaction 7; blocked by process 43."
ONE = f"""{PREFIX}ERROR:  deadlock detected
{PREFIX}DETAIL:  {DETAIL}
\tProcess 43 waits for ShareLock on transaction 6; blocked by process 42.
\tProcess 42: UPDATE users SET password = 'x' WHERE url = 'postgresql://me:secret@host/db'
{PREFIX}HINT:  See server log for query details.
{PREFIX}STATEMENT:  SELECT 'ERROR:  deadlock detected' AS text
\tERROR:  deadlock detected once, in a literal of more lines
"""
TERSE = f"{PREFIX}ERROR:  deadlock detected\n"
OTHER = f"{PREFIX}LOG:  checkpoint starting: time\n{PREFIX}ERROR:  duplicate key value\n"


class Server:
    """An environment of which only the log and the endpoints are used."""

    def __init__(self, log: str | None) -> None:
        self.log = log
        self.endpoints = Endpoints(database_url="", redis_url="")

    def logs(self, service: str) -> str:
        assert service == "postgres"
        if self.log is None:
            raise RuntimeError("the container is gone")
        return self.log


def watch(server: Server) -> DeadlockWatch:
    return DeadlockWatch(cast(Environment, server))


def test_each_deadlock_of_a_log_is_found_with_its_details_and_without_secrets() -> None:
    found = logged_deadlocks(OTHER + ONE + TERSE + OTHER + ONE)
    assert len(found) == 3
    first, bare, _ = found
    assert first.startswith(DETAIL)
    assert "Process 42: UPDATE users" in first
    assert "secret" not in first
    assert bare == ""


def test_only_deadlocks_since_the_watch_count() -> None:
    server = Server(ONE + OTHER)
    watching = watch(server)
    assert watching.found() == Deadlocks(count=0, source="log")
    assert server.log is not None
    server.log += ONE + OTHER
    found = watching.found()
    assert (found.count, found.source) == (1, "log")
    assert found.details[0].startswith(DETAIL)


BEFORE = _Statistics(3, 100, "")


@pytest.mark.parametrize(
    ("before", "now", "count", "why"),
    [
        (BEFORE, _Statistics(3, 120, ""), 0, ""),
        (BEFORE, _Statistics(5, 120, ""), 2, ""),
        (BEFORE, _Statistics(0, 20, ""), None, "the server lost its statistics meanwhile"),
        (BEFORE, _Statistics(4, 20, ""), None, "the server lost its statistics meanwhile"),
        (BEFORE, _Statistics(4, 120, "2026-01-02"), None, "the server lost its statistics meanwhile"),
        (BEFORE, "it does not answer", None, "the server's statistics cannot be read: it does not answer"),
        ("no right", BEFORE, None, "the server's statistics cannot be read: no right"),
    ],
)
@pytest.mark.parametrize("log", ["", None])
def test_statistics_count_where_there_is_no_log_and_say_so_where_they_cannot(
    log: str | None,
    before: _Statistics | str,
    now: _Statistics | str,
    count: int | None,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([before, now])
    monkeypatch.setattr(DeadlockWatch, "_counters", lambda _: next(answers))
    assert watch(Server(log)).found() == Deadlocks(count=count, source="statistics", why=why)


def test_an_environment_without_a_database_asks_no_server() -> None:
    assert watch(Server("")).found().why == "the server's statistics cannot be read: there is no database"
