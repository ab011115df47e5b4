"""What every pool does besides running tasks: bring back what was lost on the way between the record and the
queue.

All of it is safe to run in every pool at once, since dispatching twice changes nothing and every write is
fenced.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from itertools import takewhile
from uuid import UUID

from sqlalchemy import Engine

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.counters import COUNTERS, REAPED, WORKER_DIED
from agentexec.producer.enqueuer import dispatch_of
from agentexec.queue.protocol import Admission, Queue, Revoked
from agentexec.store import reading, statements
from agentexec.store.rows import PendingRow
from agentexec.store.status import PENDING, Status
from agentexec.task import encode_payload
from agentexec.worker.agreement import shared

RELAY_AFTER = 2.0  # seconds that an enqueue may take between its commit and its dispatch
PAGE = 500
PAGES_PER_ROUND = 8

_logger = logging.getLogger(__name__)


class Reconciler:
    """One pool's share of the healing. The pool's maintenance thread calls it about once a second."""

    def __init__(self, engine: Engine, queue: Queue, settings: Settings) -> None:
        self._engine = engine
        self._queue = queue
        self._settings = settings
        self._relayed = UUID(int=0)  # everything up to here was dispatched
        self._comparing: UUID | None = None  # how far the comparison under way has come

    def heal(self, *, thorough: bool) -> None:
        """One round. `thorough` begins to compare all pending activities with the queue, some of them in
        each round; a queue that lost its memory is compared with all of them at once.
        """
        self.release_dead_neighbours()
        # An id that tells its age: cancel_pending trusts no memory that is younger than its grace period.
        epoch = self._queue.begin_rebuild(runtime.current().new_id().hex)
        if epoch is not None:
            self._queue.agree(shared(self._settings))
            # Whatever was dispatched is gone, however young it is. First what may still be running: it is
            # to have its lock key before anything that was queued behind it.
            self.reconcile(statuses=(Status.RUNNING,), older_than=0.0, rebuilding=True)
            self.reconcile(older_than=0.0, rebuilding=True)
            self._queue.end_rebuild(epoch)
            return
        self.relay()
        if thorough and self._comparing is None:
            self._comparing = UUID(int=0)
        self._compare_some()

    def release_worker(self, worker: str, *, charge: bool) -> None:
        """Take back everything a dead worker held, and fence off whatever it may have sent last.

        With `charge` each task counts one crash; past `max_crashes` it goes to the dead letters and its
        activity to ERROR.
        """
        limit = self._settings.max_crashes
        released, dead = self._queue.release(
            worker, None, charge=charge, max_crashes=limit, declare_gone=True
        )
        reason = f"its worker died more than {limit} times while running it"
        with self._engine.begin() as connection:
            statements.record_revoked(
                connection, _tokens(released), Status.QUEUED, "Its worker died; it runs again."
            )
            statements.record_revoked(
                connection, _tokens(dead), Status.ERROR, f"Dead-lettered: {reason}.", reason
            )
        if released or dead:
            COUNTERS.add(REAPED, WORKER_DIED, amount=len(released) + len(dead))
            _logger.warning(
                "released %d lease(s) of dead worker %s, %d to the dead letters",
                len(released),
                worker,
                len(dead),
            )

    def release_dead_neighbours(self) -> None:
        """Release the workers of this host whose process is gone, as after SIGKILL of a whole pool: no
        lease has to expire.
        """
        for worker, identity in self._queue.registered().items():
            if runtime.current().is_certainly_dead(identity):
                self.release_worker(worker, charge=True)

    def relay(self) -> None:
        """Dispatch what was recorded but never reached the queue, since its producer died or Redis was away
        or full. Every row is looked at once: those before the first that is not dispatched are done with.
        """
        while True:
            rows = self._pending_after(self._relayed, PENDING, RELAY_AFTER)
            waiting = [row.id for row in rows if not row.dispatched]
            self._dispatch(waiting)
            for row in takewhile(lambda row: row.dispatched, rows):
                self._relayed = row.id
            if waiting or len(rows) < PAGE:
                return

    def reconcile(
        self,
        *,
        statuses: Collection[Status] = PENDING,
        older_than: float = RELAY_AFTER,
        rebuilding: bool = False,
    ) -> None:
        """Compare every pending activity older than that many seconds with the queue, page by page:
        re-dispatch the lost, close the dead-lettered.
        """
        last: UUID | None = UUID(int=0)
        while last is not None:
            last = self._compare_page(last, statuses, older_than, rebuilding=rebuilding)

    def _compare_some(self) -> None:
        """A part of the comparison of everything, so that a round's cost does not grow with the backlog."""
        for _ in range(PAGES_PER_ROUND):
            if self._comparing is None:
                return
            self._comparing = self._compare_page(self._comparing, PENDING, RELAY_AFTER)

    def _compare_page(
        self, last: UUID, statuses: Collection[Status], older_than: float, *, rebuilding: bool = False
    ) -> UUID | None:
        """Compare the page after `last`; returns its last id, or None past the end."""
        ids = [row.id for row in self._pending_after(last, statuses, older_than)]
        known = self._queue.known(ids)
        lost = [i for i, is_known in zip(ids, known, strict=True) if not is_known]
        self._dispatch(lost, rebuilding=rebuilding)
        self._close_dead([i for i, is_known in zip(ids, known, strict=True) if is_known])
        return ids[-1] if len(ids) == PAGE else None

    def _pending_after(
        self, last: UUID, statuses: Collection[Status], older_than: float
    ) -> Sequence[PendingRow]:
        with self._engine.connect() as connection:
            return reading.pending_after(
                connection, self._queue.name, last, statuses=statuses, older_than=older_than, limit=PAGE
            )

    def _dispatch(self, ids: Sequence[UUID], *, rebuilding: bool = False) -> None:
        if not ids:
            return
        with self._engine.begin() as connection:
            tasks = [
                dispatch_of(a, encode_payload(a.task_name, a.context))
                for a in reading.pending(connection, ids)
            ]
        answers = self._queue.enqueue(tasks, max_depth=self._settings.max_queue_depth, healing=rebuilding)
        taken = [
            task.task_id for task, answer in zip(tasks, answers, strict=True) if answer is Admission.TAKEN
        ]
        with self._engine.begin() as connection:
            statements.mark_dispatched(connection, taken)
        _logger.info("dispatched %d activit(ies) that the queue did not have", len(taken))

    def _close_dead(self, ids: Sequence[UUID]) -> None:
        """Activities that are in the dead letters but not terminal: whoever buried them died before writing
        it down.
        """
        reasons = self._queue.dead_reasons(ids)
        for task_id, reason in reasons.items():
            with self._engine.begin() as connection:
                standing = reading.standings(connection, [task_id]).get(task_id)
                if standing is not None and not standing.status.terminal:
                    token = {task_id: standing.fence + 1}
                    statements.record_terminated(
                        connection, token, Status.ERROR, f"Dead-lettered: {reason}.", reason
                    )


def _tokens(revoked: Sequence[Revoked]) -> dict[UUID, int]:
    return {r.task_id: r.token for r in revoked}
