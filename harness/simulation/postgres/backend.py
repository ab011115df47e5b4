"""One real connection to Postgres, and how to find out that its statement waits for a lock."""

from __future__ import annotations

from functools import partial
from select import select
from weakref import proxy

import psycopg
from psycopg import pq

from harness.errors import HarnessError

# Seconds of silence after which a server that neither answers nor reports a wait for a lock is given up.
_PATIENCE = 60.0
# The notice of a wait, once its search for a deadlock found none (`log_lock_waits`).
_WAITS = b"still waiting for"


class Backend:
    """A real connection of one simulated connection after the other, with its prepared statements.

    After `deadlock_timeout` the server notifies its client that a statement waits for a lock. So no query has to ask
    for that again and again, and each statement that waits has searched for a deadlock before the next one is sent: the
    statement that closes a circle is the one that fails, in every run.
    """

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        connection.prepare_threshold = 0
        connection.prepared_max = None
        self._connection = connection  # it would close the connection of libpq at its end
        self.number = number
        self.pgconn = connection.pgconn
        self.pid = self.pgconn.backend_pid
        self.prepared = connection._prepared
        self._noticed = False

    def listen(self) -> None:
        """Receive the notices of the server from now on; psycopg sets its own handler for each new `Connection`."""
        self.pgconn.notice_handler = partial(_note, proxy(self))

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction block is open."""
        return self.pgconn.transaction_status != pq.TransactionStatus.IDLE

    def settle(self) -> bool:
        """Wait until the statement is done (True), or until the server reports that it waits for a lock (False)."""
        self.pgconn.consume_input()
        while self.pgconn.is_busy():
            if self._noticed:
                self._noticed = False
                return False
            if not select([self.pgconn.socket], [], [], _PATIENCE)[0]:
                raise HarnessError(
                    f"Postgres was silent for {_PATIENCE:g} s. See its log, then run it again."
                )
            self.pgconn.consume_input()
        self._noticed = False
        return True

    def finish(self) -> None:
        """Wait for the end of a statement that has no client any more, drop its results, and end its transaction."""
        while not self.settle():
            pass
        while self.pgconn.get_result() is not None:
            pass
        if self.in_transaction:
            self.pgconn.exec_(b"ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _note(backend: Backend, result: pq.abc.PGresult) -> None:
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    backend._noticed |= _WAITS in (message or b"")
