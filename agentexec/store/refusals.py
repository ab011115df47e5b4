"""Why a statement failed: because of the rows in it, or because of the state of the server. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from agentexec.text import summary

T = TypeVar("T")

# SQLSTATEs, by their class or in full; https://www.postgresql.org/docs/current/errcodes-appendix.html
# Lost connection, state of the transaction, rollback, resources, operator intervention, I/O, lock not available.
_TRANSIENT = ("08", "25", "40", "53", "57", "58", "55")
# Values, constraints, cardinality, a check option, the limits of the server, and what a trigger raises.
_ROW = ("21", "22", "23", "44", "54", "P0")
# Authorization, missing databases, schemas, tables, columns and rights, and a column that these statements do not know.
_SCHEMA = ("0A", "0L", "0P", "23502", "28", "3D", "3F", "42")


class FailureKind(Enum):
    """What a statement failed for."""

    TRANSIENT = "transient"  # the same statement will succeed later
    SCHEMA = "schema"  # no row is the cause: a right, a table or a column is missing
    ROW = "row"  # a row of the statement is the cause
    UNEXPLAINED = "unexplained"


# Also what driver and encoder raise for values without a form. MemoryError may strike any row: it ends a worker.
FAILURES = (SQLAlchemyError, TypeError, ValueError, ArithmeticError, RecursionError)
SEPARABLE = (*FAILURES, MemoryError)


def kind_of(error: BaseException) -> FailureKind:
    """The kind of a failure; `error` is one of `SEPARABLE`."""
    if isinstance(error, NoConnectionFree):
        return FailureKind.TRANSIENT
    if not isinstance(error, DBAPIError):
        encoding = isinstance(error, StatementError) or not isinstance(error, SQLAlchemyError)
        return FailureKind.ROW if encoding else FailureKind.UNEXPLAINED
    if error.connection_invalidated:
        return FailureKind.TRANSIENT
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:  # the driver's own error, or SQLite's
        return _kind_of_drivers_error(error)
    kinds = ((_SCHEMA, FailureKind.SCHEMA), (_TRANSIENT, FailureKind.TRANSIENT), (_ROW, FailureKind.ROW))
    return next((kind for states, kind in kinds if sqlstate.startswith(states)), FailureKind.UNEXPLAINED)


def _kind_of_drivers_error(error: DBAPIError) -> FailureKind:
    message = str(error.orig)
    if "no such" in message or "has no column" in message:
        return FailureKind.SCHEMA
    if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_ERROR":  # a wrong statement
        return FailureKind.UNEXPLAINED
    # The server was not reached, the connection is closed, SQLite did not get its lock, or libpq has no memory left.
    transient = isinstance(error, OperationalError | InterfaceError) or "out of memory" in message
    return FailureKind.TRANSIENT if transient else FailureKind.ROW


class Refused(Exception):
    """The database refuses what a statement carries; the message is the reason, in one line without secrets."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the database refuses it ({summary(error)})")


def isolated(
    items: Sequence[T], work: Callable[[Sequence[T]], None], refused: Callable[[T, str], None]
) -> None:
    """Call `work` on all items at once; where that raises `Refused`, on smaller and smaller parts of them.

    `refused` is called with each item that is refused alone, and with the reason.
    """
    if not items:
        return
    try:
        work(items)
    except Refused as error:
        if len(items) == 1:
            refused(items[0], str(error))
            return
        middle = len(items) // 2
        isolated(items[:middle], work, refused)
        isolated(items[middle:], work, refused)
