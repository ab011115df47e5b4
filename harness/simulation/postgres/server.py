"""The store of one simulation on a real Postgres: its connections, and the statements that wait for locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.pool import QueuePool

from harness.simulation.call_faults import Network
from harness.simulation.postgres.backend import Backend
from harness.simulation.postgres.database import LockWait, RealDatabase
from harness.simulation.postgres.session import DatabaseClient, VirtualSession
from harness.simulation.postgres.statements import look
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import EPOCH, VirtualRuntime
from harness.simulation.scheduler import Process, Wakeup
from harness.simulation.store_probes import StoreProbes

# Virtual seconds after which a client gives up a statement, and the server an idle transaction
# (`AGENTEXEC_DATABASE_TIMEOUT`).
GIVEN_UP_AFTER = 10.0


@dataclass(eq=False, slots=True)
class _Parked:
    """A statement that waits for a lock on the server, and its thread; without a session, its client has gone."""

    backend: Backend
    session: VirtualSession | None
    wait: LockWait
    thread: list[Wakeup] = field(default_factory=list)
    done: bool = False


class DrivenPostgres:
    """Statements of all simulated processes on one real server, at moments of virtual time.

    While no statement waits for a lock, one runs at a time. One that waits is parked, with its simulated thread, until
    the end of the transaction that it waits for wakes it on the server. One that waits for the same transaction, or
    behind a parked one, does not wait on the server: both would go on at once then, in an order that no seed decides.
    It is canceled and sent again after the end of a transaction, as if its request had come later; only one that is not
    the first of its transaction waits all the same.
    """

    longest_wait = GIVEN_UP_AFTER

    def __init__(self, database: RealDatabase, runtime: VirtualRuntime, probes: StoreProbes) -> None:
        self._database = database
        self._runtime = runtime
        self._scheduler = runtime.scheduler
        self._probes = probes
        self._away_until = 0
        self._shown = -1  # what the clock of the server shows
        self._sessions: dict[int, VirtualSession] = {}  # by the process of the server
        self._free = [backend.number for backend in database.backends()]
        self._parked: list[_Parked] = []
        self._sent_back: list[Wakeup] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serve one simulation, which begins with empty tables."""
        self._database.empty()
        try:
            yield
        finally:
            for session in self._sessions.values():
                session.over = True
            for parked in self._parked:
                self._database.cancel(parked.backend)
            for backend in self._database.backends():
                backend.finish()

    def transaction(self) -> AbstractContextManager[Connection]:
        """A connection of the harness; each of its statements is a transaction."""
        return self._database.engine.connect()

    def engine_of(self, recorder: SimulatedRecorder, process: Process, network: Network) -> Engine:
        """An engine of SQLAlchemy with connections of this process, which end with it."""
        client = DatabaseClient(process, network, recorder)
        own = self._database.engine
        pool = QueuePool(lambda: self._connect(client), dialect=own.dialect, max_overflow=-1)  # type: ignore[arg-type]
        process.at_exit.append(lambda _: self._leave(process))
        return Engine(pool, own.dialect, own.url)

    def go_away(self, seconds: float) -> None:
        """Answer no call for this time."""
        self._away_until = max(self._away_until, self._scheduler.seconds(seconds))

    @property
    def away(self) -> bool:
        """Whether the server answers no call now."""
        return self._away_until > self._scheduler.now

    def look(
        self, backend: Backend, text: str, parameters: Mapping[str, Any], rows: Sequence[Any]
    ) -> list[str]:
        """Let the probes see a statement; returns the names of its changes."""
        return look(self._probes, backend, text, parameters, rows)

    def tick(self, statement: str = "") -> None:
        """Set the clock of the server to the virtual time, unless nothing that runs next can read it."""
        reads_no_time = statement.startswith("SELECT") and "clock_timestamp" not in statement
        if self._shown != self._scheduler.now and (self._parked or not reads_no_time):
            self._shown = self._scheduler.now
            self._database.set_clock(EPOCH * 1_000_000 + self._shown // 1000)

    def end(self, session: VirtualSession) -> None:
        """The client has closed the connection, or has gone. What the server does for it, it does to the end."""
        if session.over:
            return
        session.over = True
        parked = next((one for one in self._parked if one.session is session), None)
        if parked is not None:
            parked.session = None
            return
        self.tick()
        self._release(session.backend)
        self.settle()

    def limit_idle(self, session: VirtualSession) -> None:
        """End the connection if its transaction gets no further request for too long, as agentexec asks the server to.

        So a host that is gone in the middle of a transaction keeps no lock for good.
        """
        known = session.requests

        def end_if_idle() -> None:
            if session.requests == known and not session.over and session.backend.in_transaction:
                self.end(session)

        self._scheduler.at(self._scheduler.seconds(GIVEN_UP_AFTER), None, end_if_idle)

    def await_answer(self, session: VirtualSession) -> None:
        """Return once the statement of a connection is done; its thread waits in virtual time as long as it waits."""
        backend = session.backend
        while not backend.settle():
            wait = self._database.lock_waits([backend.pid]).get(backend.pid)
            if wait is None:
                continue
            ahead = [one.wait.blockers | {one.backend.pid} for one in self._parked]
            if session.starts_transaction and any(wait.blockers & pids for pids in ahead):
                session.sent_back = True
                self._database.cancel(backend)
                return
            self._park(session, wait)

    def await_an_end(self, session: VirtualSession) -> None:
        """Let the thread of a connection wait for the end of any transaction."""
        session.client.recorder.trace_line(session.client.process, "waits for Postgres, behind another")
        self._scheduler.wait(self._sent_back, GIVEN_UP_AFTER)

    def settle(self) -> None:
        """After the end of a transaction: return once all that it woke on the server is done, or waits again."""
        while moving := self._moving():
            for parked in moving:
                if parked.backend.settle():
                    self._resume(parked)
                else:
                    waits = self._database.lock_waits([parked.backend.pid])
                    parked.wait = waits.get(parked.backend.pid, LockWait(None, frozenset()))
        self._scheduler.wake(self._sent_back, len(self._sent_back))

    def _moving(self) -> list[_Parked]:
        """The parked statements that do not wait for the same lock as before."""
        if not self._parked:
            return []
        found = self._database.lock_waits([one.backend.pid for one in self._parked])
        moving = []
        for one in self._parked:
            wait = found.get(one.backend.pid)
            if wait is None or wait.since is None or wait.since != one.wait.since:
                moving.append(one)
            else:
                one.wait = wait
        return moving

    def _park(self, session: VirtualSession, wait: LockWait) -> None:
        parked, client = _Parked(session.backend, session, wait), session.client
        self._parked.append(parked)
        whose = sorted(
            {self._sessions[pid].client.process.name for pid in wait.blockers if pid in self._sessions}
        )
        client.recorder.trace_line(client.process, f"waits for a lock of {', '.join(whose)}")
        self._scheduler.wait(parked.thread, GIVEN_UP_AFTER)
        if parked.done:
            return
        self._parked.remove(parked)
        self._database.cancel(session.backend)
        session.backend.finish()
        self.end(session)
        raise psycopg.errors.ConnectionTimeout(f"no answer within {GIVEN_UP_AFTER:g} s")

    def _resume(self, parked: _Parked) -> None:
        self._parked.remove(parked)
        parked.done = True
        if parked.session is None:
            self._release(parked.backend)
        else:
            self._scheduler.wake(parked.thread)

    def _connect(self, client: DatabaseClient) -> VirtualSession:
        number = heappop(self._free) if self._free else len(self._database.backends())
        backend = self._database.backend(number)
        session = self._sessions[backend.pid] = VirtualSession(self, backend, client)
        return session

    def _release(self, backend: Backend) -> None:
        backend.finish()
        del self._sessions[backend.pid]
        heappush(self._free, backend.number)

    def _leave(self, process: Process) -> None:
        for session in [one for one in self._sessions.values() if one.client.process is process]:
            self.end(session)
