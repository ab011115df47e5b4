"""Which failures of a statement a row has caused, and which the state of the server."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import Engine, bindparam, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from agentexec.store.refusals import FailureKind, Refused, isolated, kind_of
from agentexec.worker.retrying import Retrying

ROW, SCHEMA, TRANSIENT = FailureKind.ROW, FailureKind.SCHEMA, FailureKind.TRANSIENT


def wrapped(error: psycopg.Error) -> BaseException:
    return DBAPIError.instance("", None, error, psycopg.Error)


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("22001", ROW),
        ("22003", ROW),
        ("22P05", ROW),
        ("23505", ROW),
        ("23514", ROW),
        ("54000", ROW),
        ("54001", ROW),
        ("P0001", ROW),
        ("23502", SCHEMA),
        ("28P01", SCHEMA),
        ("3D000", SCHEMA),
        ("3F000", SCHEMA),
        ("42501", SCHEMA),
        ("42703", SCHEMA),
        ("42P01", SCHEMA),
        ("08006", TRANSIENT),
        ("25006", TRANSIENT),
        ("40001", TRANSIENT),
        ("40P01", TRANSIENT),
        ("53100", TRANSIENT),
        ("53300", TRANSIENT),
        ("55P03", TRANSIENT),
        ("57014", TRANSIENT),
        ("57P01", TRANSIENT),
        ("58030", TRANSIENT),
        ("XX000", FailureKind.UNEXPLAINED),
    ],
)
def test_the_sqlstate_says_what_has_caused_a_failure(sqlstate: str, kind: FailureKind) -> None:
    assert kind_of(wrapped(errors.lookup(sqlstate)("refused"))) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (wrapped(psycopg.OperationalError("connection refused")), TRANSIENT),
        (wrapped(psycopg.InterfaceError("the connection is closed")), TRANSIENT),
        (wrapped(psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")), ROW),
        (wrapped(psycopg.ProgrammingError("cannot adapt type 'object'")), ROW),
        (wrapped(psycopg.ProgrammingError("out of memory")), TRANSIENT),
        (NoConnectionFree("QueuePool limit reached"), TRANSIENT),
        (RecursionError("maximum recursion depth exceeded"), ROW),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), ROW),
        (TypeError("Object of type object is not JSON serializable"), ROW),
        (OverflowError("int too big to convert"), ROW),
        (SQLAlchemyError("unknown"), FailureKind.UNEXPLAINED),
    ],
    ids=range(11),
)
def test_a_failure_without_a_sqlstate_is_known_by_its_type(error: BaseException, kind: FailureKind) -> None:
    assert kind_of(error) is kind


@pytest.mark.parametrize(
    ("statement", "value", "kind"),
    [
        ("SELECT * FROM nowhere", None, SCHEMA),
        ("SELECT missing FROM agentexec_activity", None, SCHEMA),
        ("SELECT :value", 2**70, ROW),
        ("SELECT :value", object(), ROW),
        ("SELECT :value", "\ud800", ROW),
    ],
    ids=range(5),
)
def test_sqlite_has_the_same_kinds(engine: Engine, statement: str, value: object, kind: FailureKind) -> None:
    query = text(statement)
    if value is not None:
        query = query.bindparams(bindparam("value", value))
    with engine.connect() as connection, pytest.raises(Exception) as caught:
        connection.execute(query)
    assert kind_of(caught.value) is kind


@pytest.mark.parametrize("bad", [set(), {0}, {6}, {2, 3}, {0, 3, 6}, set(range(7))])
def test_only_what_is_refused_alone_is_left_out(bad: set[int]) -> None:
    done: list[int] = []
    refused: dict[int, str] = {}

    def work(items: Sequence[int]) -> None:
        if bad.intersection(items):
            raise Refused(ValueError("not these"))
        done.extend(items)

    isolated(range(7), work, refused.__setitem__)
    assert done == [i for i in range(7) if i not in bad]
    assert refused == dict.fromkeys(sorted(bad), "the database refuses it (ValueError: not these)")


def test_nothing_is_sent_for_nothing() -> None:
    isolated([], lambda _: pytest.fail("sent"), lambda *_: None)


@pytest.mark.parametrize("error", [MemoryError(), StatementError("", "SELECT 1", None, MemoryError())])
def test_a_worker_without_memory_refuses_no_row(engine: Engine, error: Exception) -> None:
    """Any row can be the one for which no memory is left: its task would end as ERROR for a leak of another one."""
    refused: list[tuple[int, str]] = []

    def work(connection: object, rows: Sequence[int]) -> None:
        raise error

    with pytest.raises(type(error)):
        Retrying(engine, lambda: False).record([1, 2], work, lambda row, why: refused.append((row, why)))
    assert refused == []
