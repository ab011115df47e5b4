"""Calls that are repeated until their server answers: statements and scripts that are safe to send again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from agentexec.core import runtime
from agentexec.core.db import KeptConnection
from agentexec.core.postgres import FIRST_PAUSE, LONGEST_PAUSE, sqlstate_of
from agentexec.ops.logs import LastingProblem
from agentexec.store.refusals import FAILURES, FailureKind, Refused, isolated, kind_of
from agentexec.text import summary

UNEXPLAINED_TRIES = 3
SILENCE_SECONDS = 1.0  # an attempt that takes less and fails was refused, and not left without an answer

T = TypeVar("T")
Item = TypeVar("Item")

_logger = logging.getLogger(__name__)


class Retrying:
    """A worker's calls to its servers. Each raises its last error once `give_up` returns True."""

    def __init__(
        self, engine: Engine, give_up: Callable[[], bool], *, unexplained_tries: int = UNEXPLAINED_TRIES
    ) -> None:
        """After `unexplained_tries` failures of no known kind, a statement is refused for its data."""
        self._engine = engine
        self._one_statement = KeptConnection(engine)
        self._give_up = give_up
        self._unexplained_tries = unexplained_tries
        # Since when Postgres has owed an answer, on the runtime's monotonic clock.
        self.silent_since: float | None = None

    def transaction(self, work: Callable[[Connection], T], *, single_statement: bool = False) -> T:
        """Run `work` in a transaction until it commits.

        With `single_statement` it writes in one statement: Postgres commits with it, in one round trip. Raises
        `Refused` for data that the database does not take. While a right, a table or a column is missing, it waits.
        """
        engine = self._one_statement if single_statement else self._engine

        def attempt() -> T:
            began = runtime.current().monotonic()
            self.silent_since = began if self.silent_since is None else self.silent_since
            silent = False
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                took = runtime.current().monotonic() - began
                silent = sqlstate_of(error) is None and took >= SILENCE_SECONDS
                raise
            finally:
                if not silent:
                    self.silent_since = None

        return self.until_done(attempt)

    def record(
        self,
        items: Sequence[Item],
        work: Callable[[Connection, Sequence[Item]], T],
        refused: Callable[[Item, str], None],
        *,
        single_statement: bool = False,
    ) -> list[T]:
        """Run `work` as `transaction` does: for all items, or in parts where the database refuses them together.

        Returns the answer of each part. `refused` is called with each item that is refused alone, and with the reason.
        """
        answers: list[T] = []

        def write(part: Sequence[Item]) -> None:
            answers.append(self.transaction(lambda c: work(c, part), single_statement=single_statement))

        isolated(items, write, refused)
        return answers

    def until_done(self, attempt: Callable[[], T]) -> T:
        """Repeat an attempt until its server answers, with growing pauses. Each problem is logged once."""
        unexplained, pause, lasting = 0, FIRST_PAUSE, LastingProblem(_logger, "the server answers again")
        while True:
            try:
                result = attempt()
                lasting.seen(None)
                return result
            except redis.RedisError as error:
                if self._give_up():
                    raise
                problem = f"Redis does not answer ({type(error).__name__})"
            except FAILURES as error:
                if isinstance(getattr(error, "orig", None), MemoryError):  # SQLAlchemy may have wrapped it
                    raise
                kind = kind_of(error)
                unexplained += kind is FailureKind.UNEXPLAINED
                if kind is FailureKind.ROW or unexplained >= self._unexplained_tries:
                    raise Refused(error) from error
                if self._give_up():
                    raise
                problem = _problem(kind, error)
            lasting.seen(f"{problem}; trying again")
            runtime.current().sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)


def _problem(kind: FailureKind, error: BaseException) -> str:
    if kind is FailureKind.SCHEMA:
        return (
            f"the database refuses every statement of this worker ({summary(error)}): its tasks wait and none is "
            "charged; run `agentexec db upgrade`, or grant what is missing to the role of DATABASE_URL"
        )
    return f"the database refused a batch ({summary(error)})"
