"""What every pool does besides running tasks: bring back what was lost on the way between the record and the
queue.

All of it is safe to run in every pool at once, since dispatching twice changes nothing and every write is
fenced.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import takewhile
from uuid import UUID

from sqlalchemy import Engine, text

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.counters import COUNTERS, REAPED, WORKER_DIED
from agentexec.queue.protocol import Admission, Dispatch, Queue
from agentexec.store import reading, statements
from agentexec.store.batch import as_key, as_uuid
from agentexec.store.models import ACTIVITY_TABLE
from agentexec.store.status import Status
from agentexec.task import encode_payload
from agentexec.worker.agreement import shared

RELAY_AFTER = 2.0  # seconds that an enqueue may take between its commit and its dispatch
PAGE = 500
PAGES_PER_ROUND = 8
PENDING_STATUSES = (Status.QUEUED, Status.RUNNING)

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
        released, dead = self._queue.release(worker, None, charge=charge, declare_gone=True)
        reason = f"its worker died more than {limit} times while running it"
        with self._engine.begin() as connection:
            statements.record_revoked(connection, released, Status.QUEUED, "Its worker died; it runs again.")
            statements.record_revoked(connection, dead, Status.ERROR, f"Dead-lettered: {reason}.", reason)
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
        query = f"""SELECT id, dispatched_at IS NULL AS waits FROM {ACTIVITY_TABLE}
            WHERE queue_name = :queue AND status IN ('queued', 'running') AND id > :last
            AND created_at < {self._ago("relay_after")} ORDER BY id LIMIT {PAGE}"""
        while True:
            with self._engine.connect() as connection:
                last = as_key(connection, self._relayed)
                parameters = {"queue": self._queue.name, "last": last, "relay_after": RELAY_AFTER}
                rows = connection.execute(text(query), parameters).all()
            waiting = [as_uuid(row.id) for row in rows if row.waits]
            self._dispatch(waiting)
            done = list(takewhile(lambda row: not row.waits, rows))
            if done:
                self._relayed = as_uuid(done[-1].id)
            if waiting or len(rows) < PAGE:
                return

    def reconcile(
        self,
        *,
        statuses: Sequence[Status] = PENDING_STATUSES,
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
            self._comparing = self._compare_page(self._comparing, PENDING_STATUSES, RELAY_AFTER)

    def _compare_page(
        self, last: UUID, statuses: Sequence[Status], older_than: float, *, rebuilding: bool = False
    ) -> UUID | None:
        """Compare the page after `last`; returns its last id, or None past the end."""
        ids = self._pending_after(last, statuses, older_than)
        known = self._queue.known(ids)
        lost = [i for i, is_known in zip(ids, known, strict=True) if not is_known]
        self._dispatch(lost, rebuilding=rebuilding)
        self._close_dead([i for i, is_known in zip(ids, known, strict=True) if is_known])
        return ids[-1] if len(ids) == PAGE else None

    def _pending_after(self, last: UUID, statuses: Sequence[Status], older_than: float) -> list[UUID]:
        among = ", ".join(f"'{status.value}'" for status in statuses)
        query = f"""SELECT id FROM {ACTIVITY_TABLE}
            WHERE queue_name = :queue AND status IN ({among}) AND id > :last
            AND created_at <= {self._ago("older_than")} ORDER BY id LIMIT {PAGE}"""
        with self._engine.connect() as connection:
            parameters = {
                "queue": self._queue.name,
                "last": as_key(connection, last),
                "older_than": older_than,
            }
            rows = connection.execute(text(query), parameters).all()
        return [as_uuid(row.id) for row in rows]

    def _dispatch(self, ids: Sequence[UUID], *, rebuilding: bool = False) -> None:
        if not ids:
            return
        with self._engine.begin() as connection:
            tasks = [
                Dispatch(
                    task_id=a.id,
                    payload=encode_payload(a.task_name, a.context),
                    level=a.priority,
                    delay=a.delay,
                    lock_key=a.lock_key,
                )
                for a in reading.pending(connection, ids)
            ]
        answers = self._queue.enqueue(tasks, from_reconciler=rebuilding)
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
                    statements.end_unstarted(
                        connection, token, Status.ERROR, f"Dead-lettered: {reason}.", reason
                    )

    def _ago(self, parameter: str) -> str:
        if self._engine.dialect.name == "postgresql":
            return f"clock_timestamp() - :{parameter} * interval '1 second'"
        return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || :{parameter} || ' seconds')"
