"""Psycopg's connection and cursor as a simulated process has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from select import select
from typing import Any, NamedTuple, NoReturn, Protocol, Self, TypeVar, cast

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen

from harness.simulation.call_faults import LostCall, Network
from harness.simulation.postgres.backend import Backend
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process

T = TypeVar("T")


class DatabaseClient(NamedTuple):
    """The process that a connection belongs to, and its network."""

    process: Process
    network: Network
    recorder: SimulatedRecorder


class SessionServer(Protocol):
    """The part of the server that a connection needs."""

    @property
    def away(self) -> bool:
        """Whether the server answers no call now."""

    def tick(self, statement: str = "") -> None:
        """Set the clock of the server to the virtual time, unless nothing that runs next can read it."""

    def look(
        self, backend: Backend, text: str, parameters: Mapping[str, Any], rows: Sequence[Any]
    ) -> list[str]:
        """Let the probes see a statement; returns the names of its changes."""

    def await_answer(self, session: VirtualSession) -> None:
        """Return once the statement of a connection is done; its thread waits in virtual time as long as it waits."""

    def await_an_end(self, session: VirtualSession) -> None:
        """Let the thread of a connection wait for the end of any transaction."""

    def settle(self) -> None:
        """After the end of a transaction: return once all that it woke on the server is done, or waits again."""

    def end(self, session: VirtualSession) -> None:
        """The client has closed the connection, or has gone."""

    def limit_idle(self, session: VirtualSession) -> None:
        """End the connection if its transaction gets no further request for too long."""


class VirtualCursor(psycopg.Cursor[Any]):
    """A cursor whose statements travel through the simulated network."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Run a statement as psycopg does; raises what psycopg raises."""
        session = cast(VirtualSession, self.connection)
        session.request()
        while True:
            session.tick(query)
            try:
                super().execute(query, params, **options)
            except psycopg.errors.QueryCanceled:
                if not session.sent_back:
                    session.answer_error()
                    raise
                session.await_an_end()
            except psycopg.Error:
                session.answer_error()
                raise
            else:
                break
        session.answer(self, query, params or {})
        return self


class VirtualSession(psycopg.Connection[Any]):
    """One connection of a simulated process, over a real one that other processes had before.

    Each statement and each commit is a call of its own. At its end, or with the process, the server rolls back what is
    not committed.
    """

    def __init__(self, server: SessionServer, backend: Backend, client: DatabaseClient) -> None:
        super().__init__(backend.pgconn)
        self._prepared = backend.prepared
        self.cursor_factory = VirtualCursor
        self._server = server
        self.backend = backend
        self.client = client
        self.over = False
        self.sent_back = False  # whether the last statement was canceled so that it is sent later
        self._committing: list[str] = []
        self._calls = 0  # statements of this transaction that were answered
        self.requests = 0  # that arrived
        backend.listen()

    @property
    def closed(self) -> bool:
        """Whether it has ended; the real connection may serve another process then."""
        return self.over or super().closed

    @property
    def starts_transaction(self) -> bool:
        """Whether nothing is lost if the present statement is canceled: its transaction has no earlier one."""
        return not self._calls

    def request(self) -> None:
        """Send a request through the network; raises `OperationalError` if it, or the server, is lost."""
        self._require_open()
        try:
            late = self.client.network.request()
        except LostCall:
            self.lose("no reply came")
        self._require_open()
        self.requests += 1
        if late is not None or self._server.away:
            self.lose("no reply came" if late is not None else "the server is away")

    def answer(self, cursor: VirtualCursor, query: str, parameters: Mapping[str, Any]) -> None:
        """Deliver the answer to a statement, which has committed where there is no transaction."""
        rows = cursor.fetchall() if cursor.description else []
        changes = self._server.look(self.backend, query, parameters, rows)
        self._committing += changes
        if rows:
            cursor.scroll(0, mode="absolute")
        self._calls += 1
        if self.backend.in_transaction:
            self._server.limit_idle(self)
            self._reply(*changes)
        else:
            self._answer_end()

    def answer_error(self) -> None:
        """Deliver an error, after which the locks of its transaction are free."""
        if not self.over:
            self._committing.clear()
            self._server.settle()
            self._reply()

    def commit(self) -> None:
        """Commit the transaction, if there is one."""
        if not self.over and not self.backend.in_transaction:
            return
        self.request()
        self.tick()
        super().commit()
        self._answer_end()

    def rollback(self) -> None:
        """Roll the transaction back, if there is one; the reply is not waited for."""
        if not self.over and self.backend.in_transaction:
            self.tick()
            self.backend.pgconn.exec_(b"ROLLBACK")
            self._forget()
            self._server.settle()

    def close(self) -> None:
        """End the connection."""
        self._server.end(self)

    def tick(self, statement: str = "") -> None:
        """Set the clock of the server, if the statement may read it."""
        self._server.tick(statement)

    def await_an_end(self) -> None:
        """Wait until a transaction has ended, before the same statement is sent again."""
        self.sent_back = False
        if self.backend.in_transaction:
            self.backend.pgconn.exec_(b"ROLLBACK")
        self._server.await_an_end(self)
        self._require_open()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ARG002
        """Drive a generator of psycopg; a statement that waits for a lock lets virtual time pass."""
        self._require_open()
        try:
            wanted = next(gen)
            while True:
                if wanted == waiting.Wait.R:
                    self._server.await_answer(self)
                    ready = waiting.Ready.R
                else:
                    ready = self._writable()
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: T = end.value
            return answer

    def lose(self, why: str) -> NoReturn:
        """End the connection and raise what psycopg raises for a broken one."""
        self.client.recorder.trace_line(self.client.process, "gets no reply from Postgres")
        self.close()
        raise psycopg.OperationalError(f"simulated: {why}")

    def _writable(self) -> waiting.Ready:
        socket = [self.pgconn.socket]
        readable, writable, _ = select(socket, socket, [])
        return waiting.Ready((waiting.Ready.R if readable else 0) | (waiting.Ready.W if writable else 0))

    def _require_open(self) -> None:
        if self.over:
            raise psycopg.OperationalError("the connection is closed")

    def _answer_end(self) -> None:
        names = [f"{change}-commit" for change in self._committing]
        self._forget()
        self._server.settle()
        self._reply(*names)

    def _reply(self, *names: str) -> None:
        try:
            self.client.network.reply(*names)
        except LostCall:
            self.lose("no reply came")

    def _forget(self) -> None:
        self._committing.clear()
        self._calls = 0

    def _set_autocommit(self, value: bool) -> None:
        if not self.over:  # the pool of a dead process resets it
            super()._set_autocommit(value)

    def _set_isolation_level(self, value: psycopg.IsolationLevel | None) -> None:
        if not self.over:
            super()._set_isolation_level(value)
