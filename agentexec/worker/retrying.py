"""Calls that go on until their server answers. Only for statements and scripts that may be sent again, as
all of ours may.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from agentexec.core import runtime
from agentexec.core.db import one_statement

UNEXPLAINED_TRIES = 3
READ_ONLY = "25006"  # the server was demoted: a failover is under way
# Serialization failure, deadlock, lock not available.
TRANSIENT_SQLSTATES = ("40001", "40P01", "55P03", READ_ONLY)
TRANSIENT_CLASSES = (
    "08",
    "53",
    "57",
)  # connection, resources, operator intervention (shutdown, crash recovery)

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def in_transaction(engine: Engine, work: Callable[[Connection], T], *, give_up: Callable[[], bool]) -> T:
    """Run `work` in a transaction until it commits, with growing pauses up to 1 s.

    Raises the last error once `give_up` says so, or after three tries of one that neither a lost connection
    nor contention explains.
    """
    unexplained = 0
    for pause in _pauses():
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            unexplained += not _is_transient(error)
            if getattr(error.orig, "sqlstate", None) == READ_ONLY:
                engine.dispose()  # the connections lead to the server that was demoted
            if give_up() or unexplained >= UNEXPLAINED_TRIES:
                raise
            _logger.warning(
                "the database refused a batch (%s); trying again in %.2f s", type(error.orig).__name__, pause
            )
            runtime.current().sleep(pause)
    raise AssertionError("unreachable")


def in_statement(engine: Engine, work: Callable[[Connection], T], *, give_up: Callable[[], bool]) -> T:
    """`in_transaction` for work that writes in one statement: on Postgres it commits with it, in one round
    trip.
    """
    return in_transaction(one_statement(engine), work, give_up=give_up)


def in_redis(call: Callable[[], T], *, give_up: Callable[[], bool]) -> T:
    """Send a script until Redis answers, with growing pauses up to 1 s; raises its error once `give_up`
    says so.
    """
    for pause in _pauses():
        try:
            return call()
        except redis.RedisError as error:
            if give_up():
                raise
            _logger.warning("Redis does not answer (%s); trying again in %.2f s", type(error).__name__, pause)
            runtime.current().sleep(pause)
    raise AssertionError("unreachable")


def _pauses() -> Iterator[float]:
    pause = 0.02
    while True:
        yield pause
        pause = min(1.0, pause * 2)


def _is_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:  # the server was never reached, or SQLite's lock was not to be had
        return "OperationalError" in type(error.orig).__name__
    return sqlstate in TRANSIENT_SQLSTATES or sqlstate[:2] in TRANSIENT_CLASSES
