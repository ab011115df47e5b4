"""Brings the queue in line with the record: dispatches lost tasks, and releases the leases of dead workers.

Every pool does this. It is safe to do in all of them at once, since dispatching twice changes nothing and
every write is fenced.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.core.counters import COUNTERS, REAPED, WORKER_DIED
from agentexec.producer.enqueuer import dispatch_of
from agentexec.queue.dead_letters import log_dead_letters
from agentexec.queue.ownership import adopt_queue, store_name
from agentexec.queue.protocol import Admission, Queue, Revocations
from agentexec.store import reading, statements
from agentexec.store.rows import PendingRow, Withdrawal
from agentexec.store.status import PENDING, Status
from agentexec.task import payload_of
from agentexec.text import json_text
from agentexec.worker.agreement import shared
from agentexec.worker.recording import log_refused, record_revocations
from agentexec.worker.retrying import Retrying

OUTBOX_AFTER = 2.0  # seconds that an enqueue may take between its commit and its dispatch
ANNOUNCE_EVERY = 5.0  # seconds
PAGE = 500
PAGES_PER_ROUND = 8
LOOK_BEHIND = 4000  # pending activities; further ones wait for the comparison of all
# A scan rests so many times as long as it took: beside a long transaction it reads all that ended meanwhile.
REST = 20
START = UUID(int=0)

_logger = logging.getLogger(__name__)


class Rests:
    """The rests after scans of one kind. One slow scan changes nothing: a server may have been away."""

    _before = 0.0

    def after(self, seconds: float) -> float:
        """The seconds to rest after a scan that took `seconds`."""
        usual, self._before = min(self._before, seconds), seconds
        return REST * usual


class Reconciler:
    """One pool's reconciler. The maintenance thread of the pool calls it about once a second."""

    def __init__(
        self,
        engine: Engine,
        queue: Queue,
        settings: Settings,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`fingerprints` of the tasks that the pool knows, by name."""
        self._engine = engine
        self._queue = queue
        self._settings = settings
        self._fingerprints = fingerprints
        self._announced = -math.inf
        self._outbox_done = START  # everything up to this id is dispatched, or not committed yet
        self._look_behind_at = -math.inf
        self._rests = Rests()
        self._pass_at: UUID | None = None  # the last id that the full pass under way has compared
        # Fences of RUNNING rows without a lease, as the previous full pass and the present one found them.
        self._without_lease: dict[UUID, int] = {}
        self._suspects: dict[UUID, int] = {}
        self._dead: set[str] = set()  # registered workers of this host without a process
        # One attempt: the next round is the repetition.
        self._retrying = Retrying(engine, lambda: True, unexplained_tries=1)
        self._left_out: set[UUID] = set()  # logged already

    def run_round(self, *, full_pass: bool) -> None:
        """One round.

        With `full_pass` it begins to compare all pending activities with the queue, in parts; all at once after a loss.
        """
        self.release_dead_neighbours()
        # The id tells its age: cancel_pending relies on no queue that is younger than its grace period.
        epoch = self._queue.begin_rebuild(runtime.current().new_id().hex)
        self._announce()
        if epoch is not None:
            self._rebuild(epoch)
            return
        self.withdraw()
        self.dispatch_outbox()
        if full_pass and self._pass_at is None:
            self._pass_at = START
            self._without_lease, self._suspects = self._suspects, {}
        for _ in range(PAGES_PER_ROUND):  # so that the cost of a round does not grow with the backlog
            if self._pass_at is not None:
                self._pass_at = self._compare(self._page(self._pass_at))

    def release_worker(self, worker: str, *, charge: bool) -> None:
        """Release all leases of a dead worker; the queue refuses what it may have sent last.

        With `charge` the worker crashed: its only task is charged; past `max_crashes` it becomes a dead letter and its
        activity ERROR. Of several tasks, or if no start is recorded, none is charged, and each of them runs alone.
        """
        begun = not charge or self._has_begun(worker)
        revoked = self._queue.release(worker, None, charge=charge, begun=begun, declare_gone=True)
        self._record_revocations(revoked, "Its worker died; it runs again.")
        if any(revoked):
            COUNTERS.add(REAPED, WORKER_DIED, amount=sum(map(len, revoked)))
            message = "released %d lease(s) of dead worker %s, %d to the dead letters"
            _logger.warning(message, len(revoked.requeued), worker, len(revoked.dead))

    def _has_begun(self, worker: str) -> bool:
        """Whether a start of a task that the worker has leased is recorded."""
        leases = self._queue.leases_of(worker)
        with self._engine.connect() as connection:
            standings = reading.standings(connection, leases)
        return any(s.status is Status.RUNNING and s.fence == leases[i] for i, s in standings.items())

    def release_dead_neighbours(self) -> None:
        """Release the workers of this host whose process is gone.

        A pool that lives knows whether its worker crashed, so its workers are left to it for one round. Here each death
        counts as a crash. A pool none of whose workers lives has ended with them.
        """
        is_dead = runtime.current().is_certainly_dead
        before, registered = self._dead, self._queue.registered()
        self._dead = {worker for worker, identity in registered.items() if is_dead(identity)}
        living_pools = {_pool_of(worker) for worker in registered.keys() - self._dead}
        for worker in sorted(self._dead):
            if worker in before or _pool_of(worker) not in living_pools:
                self.release_worker(worker, charge=True)

    def withdraw(self) -> None:
        """Ask the queue to stop or remove canceled tasks, until it has: Redis was away, or a dispatch was late."""
        last: UUID | None = START
        while last is not None:
            with self._engine.connect() as connection:
                page = reading.withdrawals(connection, self._queue.name, last, PAGE)
            self._withdraw(page)
            last = page[-1].id if len(page) == PAGE else None

    def _withdraw(self, page: Sequence[Withdrawal]) -> None:
        ids = [row.id for row in page]
        leased = dict(zip(ids, self._queue.request_cancel(ids), strict=True))
        lost = {row.id: row.fence for row in page if row.status is Status.RUNNING and not leased[row.id]}
        # CANCELED, since each has a cancel request.
        self._record_revocations(Revocations(lost, {}), "Canceled on request.")
        over = [row for row in page if row.status.terminal]
        # A claim that was not started may come back from its worker.
        tokens = self._queue.leases([row.id for row in over if leased[row.id]])
        over = [row for row in over if tokens.get(row.id, row.fence) == row.fence]
        self._retrying.record(
            over, statements.unmark_withdrawals, lambda row, reason: self._leave_out(row.id, reason)
        )

    def dispatch_outbox(self) -> None:
        """Dispatch recorded tasks that never reached the queue: their producer died, or Redis was away or full.

        What was read is read again among the last `LOOK_BEHIND` pending rows only: a late commit may add a row there.
        """
        now = runtime.current().monotonic
        began = now()
        behind = LOOK_BEHIND if began >= self._look_behind_at else 0
        while True:
            done = self._outbox_done
            page = self._read(reading.outbox, done, older_than=OUTBOX_AFTER, behind=behind)
            if behind:
                self._look_behind_at = began + self._rests.after(now() - began)
            undispatched = [row.id for row in page if not row.dispatched]
            self._dispatch(undispatched)
            after = [row for row in page if row.id > done]
            for row in takewhile(lambda row: row.dispatched, after):
                self._outbox_done = row.id
            if undispatched or len(after) < PAGE:
                return
            behind = 0

    def _announce(self) -> None:
        """Note in the queue that a live pool knows these tasks."""
        now = runtime.current().monotonic()
        if now >= self._announced + ANNOUNCE_EVERY:
            self._queue.announce(self._fingerprints)
            self._announced = now

    def _rebuild(self, epoch: str) -> None:
        """Dispatch all pending tasks to a queue that lost its contents, however young they are."""
        adopt_queue(store_name(self._engine), self._queue)
        self._queue.agree(shared(self._settings))
        # First those that may still be running: they have to get their lock keys before the tasks queued behind them.
        for statuses in ((Status.RUNNING,), PENDING):
            last: UUID | None = START
            while last is not None:
                last = self._compare(self._page(last, statuses, older_than=0.0), rebuilding=True)
        self._queue.end_rebuild(epoch)

    def _compare(self, page: Sequence[PendingRow], *, rebuilding: bool = False) -> UUID | None:
        """Dispatch what the queue lacks of a page, and end dead letters; returns its last id, None for the last one."""
        ids = [row.id for row in page]
        known = dict(zip(ids, self._queue.known(ids), strict=True))
        # The queue had these; new tasks may have taken their room, and the outbox does not offer them again.
        cap = rebuilding and self._queue.policy.max_depth
        # The notes of the youngest dispatches may be on their way.
        young = UUID(int=runtime.current().new_id().int - (int(OUTBOX_AFTER * 1000) << 80)) if cap else START
        had = {r.id for r in page if rebuilding and (r.dispatched or r.fence is not None or r.id > young)}
        self._dispatch([i for i in ids if not known[i] and i in had], rebuilding=True)
        self._dispatch([i for i in ids if not known[i] and i not in had])
        self._end_dead_letters([i for i in ids if known[i]])
        if not rebuilding:
            self._requeue_without_lease({row.id: row.fence for row in page if row.fence is not None})
        return ids[-1] if len(ids) == PAGE else None

    def _page(
        self, last: UUID, statuses: Collection[Status] = PENDING, *, older_than: float = OUTBOX_AFTER
    ) -> Sequence[PendingRow]:
        """The next pending activities after `last` in the order of their ids, at least `older_than` seconds old."""
        return self._read(reading.pending_after, last, statuses=statuses, older_than=older_than)

    def _read(
        self, query: Callable[..., Sequence[PendingRow]], last: UUID, **options: Any
    ) -> Sequence[PendingRow]:
        with self._engine.connect() as connection:
            return query(connection, self._queue.name, last, limit=PAGE, **options)

    def _dispatch(self, ids: Sequence[UUID], *, rebuilding: bool = False) -> None:
        if not ids:
            return
        with self._engine.begin() as connection:
            found = reading.pending(connection, ids)
        tasks = [dispatch_of(a, payload_of(a.task_name, json_text(a.context))) for a in found]
        answers = zip(tasks, self._queue.enqueue(tasks, from_reconciler=rebuilding), strict=True)
        taken = [task.task_id for task, answer in answers if answer is Admission.TAKEN]
        self._retrying.record(taken, statements.mark_dispatched, self._leave_out)
        _logger.info("dispatched %d activit(ies) that the queue did not have", len(taken))

    def _end_dead_letters(self, ids: Sequence[UUID]) -> None:
        """End pending activities that are dead letters: the worker died before it recorded that."""
        reasons = self._queue.dead_reasons(ids)

        def end(connection: Connection, part: Sequence[UUID]) -> dict[UUID, str]:
            return statements.record_dead_letters(connection, {i: reasons[i] for i in part})

        for names in self._retrying.record(list(reasons), end, self._leave_out):
            log_dead_letters(names, reasons)

    def _requeue_without_lease(self, fences: Mapping[UUID, int]) -> None:
        """Record QUEUED for RUNNING activities that had no lease in two full passes.

        Who took the lease could not record it. After one pass a handler may still complete: its worker has not noticed.
        """
        leases = self._queue.leases(list(fences))
        without = {i: fence for i, fence in fences.items() if leases.get(i) != fence}
        self._suspects |= without
        lost = {i: fence for i, fence in without.items() if self._without_lease.get(i) == fence}
        # The queue gave the lease back to a run below the fence, which can record nothing.
        self._queue.release(None, {i: leases[i] for i, fence in lost.items() if leases.get(i, fence) < fence})
        self._record_revocations(Revocations(lost, {}), "Its lease was lost; it runs again.")

    def _record_revocations(self, revoked: Revocations, message: str) -> None:
        record_revocations(self._retrying, revoked, message, self._leave_out)

    def _leave_out(self, task_id: UUID, reason: str) -> None:
        if task_id not in self._left_out:
            self._left_out.add(task_id)
            log_refused(task_id, reason)


def _pool_of(worker: str) -> str:
    """What the names of a pool's workers share: all but the slot and the number in it."""
    return worker.rsplit("-", 2)[0]
