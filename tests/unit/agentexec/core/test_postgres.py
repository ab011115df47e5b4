"""What explains an error of a database, and the arguments that bound the wait for a silent one."""

from __future__ import annotations

import sqlite3

import pytest
from psycopg import errors
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from agentexec.core.postgres import answer_within, connect_arguments, patiently, timed_out
from agentexec.store.refusals import FailureKind, kind_of

URL = "postgresql+psycopg://u@h/d"


def raised(error: Exception, *, invalidated: bool = False) -> DBAPIError:
    """What SQLAlchemy raises for an error of the driver."""
    kind = (
        OperationalError
        if isinstance(error, (errors.OperationalError, sqlite3.OperationalError))
        else DBAPIError
    )
    return kind("", None, error, connection_invalidated=invalidated)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.ConnectionTimeout("silent"), True),
        (errors.OperationalError("refused"), True),
        (errors.SerializationFailure(), True),
        (errors.DeadlockDetected(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (errors.CannotConnectNow(), True),
        (errors.UndefinedTable(), False),
        (errors.InsufficientPrivilege(), False),
        (sqlite3.OperationalError("the server is away"), True),
    ],
)
def test_the_state_of_a_server_explains_an_error_and_a_wrong_statement_does_not(
    error: Exception, transient: bool
) -> None:
    assert (kind_of(raised(error)) is FailureKind.TRANSIENT) is transient


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("SELECT 1 FROM absent", FailureKind.SCHEMA), ("SELECT 1 FROM nothing", FailureKind.UNEXPLAINED)],
)
def test_a_wrong_statement_for_sqlite_is_not_explained_by_its_state(
    statement: str, kind: FailureKind
) -> None:
    with create_engine("sqlite://").connect() as connection, pytest.raises(OperationalError) as missing:
        connection.execute(text(statement))
    assert kind_of(missing.value) is kind


def test_only_silence_is_a_time_out() -> None:
    assert timed_out(raised(errors.ConnectionTimeout("silent")))
    assert not timed_out(raised(errors.OperationalError("refused")))
    assert not timed_out(ValueError())


@pytest.mark.parametrize(
    ("error", "invalidated", "attempts"),
    [
        (errors.SerializationFailure(), False, 3),
        (errors.DeadlockDetected(), False, 3),
        (errors.ReadOnlySqlTransaction(), True, 3),
        (errors.OperationalError("broken"), True, 2),
        (errors.OperationalError("refused"), False, 1),
        (errors.UniqueViolation(), False, 1),
    ],
)
def test_an_attempt_is_repeated_where_that_may_help(
    error: Exception, invalidated: bool, attempts: int
) -> None:
    """It succeeds with the third attempt."""
    made: list[int] = []

    def attempt() -> str:
        made.append(1)
        if len(made) < 3:
            raise raised(error, invalidated=invalidated)
        return "done"

    if attempts == 3:
        assert patiently(attempt) == "done"
    else:
        with pytest.raises(DBAPIError):
            patiently(attempt)
    assert len(made) == attempts


def test_the_url_and_the_environment_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    usual = connect_arguments(make_url(URL), "n", 10)
    assert usual["connect_timeout"] == 10
    assert usual["tcp_user_timeout"] == 10_000
    assert connect_arguments(make_url(URL), "n", 0.1)["connect_timeout"] == 2
    given = connect_arguments(make_url(f"{URL}?connect_timeout=3&keepalives_idle=1"), "n", 10)
    assert {"connect_timeout", "keepalives_idle"}.isdisjoint(given)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert "connect_timeout" not in connect_arguments(make_url(URL), "n", 10)


def test_a_limit_ends_with_its_block() -> None:
    engine = create_engine("sqlite://")
    with answer_within(0.0), engine.connect():  # it concerns Postgres
        pass
    engine.dispose()
