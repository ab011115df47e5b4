"""The I/O thread of a worker: claims, records, finishes. Handlers never wait for it, and cannot starve it of
its loop.

One round is a transaction in Postgres (starts, progress, outcomes of everything that gathered meanwhile) and
a STEP in Redis (finishes what the transaction made durable, claims for the free slots). Under load both carry
many tasks; on an idle queue a task passes through one of each before its handler begins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, Engine

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.counters import COUNTERS, EXPIRED, LOST, REAPED, REDELIVERED, STALE
from agentexec.errors import InvalidTask
from agentexec.queue.protocol import Claim, Disposition, Finish, Queue, StepRequest, StepResult
from agentexec.store import statements
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.task import Registry, decode_payload
from agentexec.worker.leases import HeldLeases
from agentexec.worker.recording import Batch, Recorded, record
from agentexec.worker.retrying import in_redis, in_transaction
from agentexec.worker.runner import End, Ended, HandlerRun, HandlerRunner

HOUSEKEEPING = 1.0  # seconds between two STEPs of a worker that has nothing to do or no free slot

LOCKED_OUT = 1.0  # seconds until a task asks again for a lock key that another one runs under

_STATUS = {
    End.COMPLETE: Status.COMPLETE,
    End.RETRY: Status.QUEUED,
    End.RELEASED: Status.QUEUED,
    End.DEAD: Status.ERROR,
    End.CANCELED: Status.CANCELED,
}

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Inbox:
    """What the other threads leave for the I/O thread; guarded by the engine's condition."""

    ended: list[tuple[Ended, int | None]] = field(default_factory=list)  # with the number of its log entry
    entries: list[LogEntry] = field(default_factory=list)
    poked: bool = False


class WorkerLoop:
    """The I/O side of one worker process; `run` belongs to a thread of its own, the rest may be called from
    anywhere.
    """

    def __init__(
        self,
        *,
        worker: str,
        queue: Queue,
        database: Engine,
        settings: Settings,
        host: HandlerRunner,
        registry: Registry,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        """`report` is called after every round, to hand over what was counted in it."""
        self._worker = worker
        self._queue = queue
        self._database = database
        self._settings = settings
        self._host = host
        self._registry = registry
        self._report = report
        self.ledger = HeldLeases()
        self.idle = runtime.current().event()  # set while the waiter should listen for new work
        self.next_look = HOUSEKEEPING  # how long it may listen, in seconds
        self._changed = runtime.current().condition()
        self._inbox = _Inbox()
        self._claims: list[Claim] = []
        self._lock_keys: dict[UUID, str] = {}  # of claims whose producers knew none
        self._finishes: list[Finish] = []
        self._lowest_token = 0
        self.finished = 0  # runs that ended, for the recycling of the process
        self._draining = False
        self._abandoned = False

    # The sink of the host.

    def ended(self, outcome: Ended) -> None:
        """A run is over. Whatever its handler may still report comes too late from here on."""
        with self._changed:
            self._inbox.ended.append((outcome, self._last_number(outcome)))
            self._changed.notify()

    def progress(self, task_id: UUID, token: int, message: str, percentage: int | None) -> None:
        """A handler reported progress; it is written with the next batch."""
        with self._changed:  # also around the number: entries must lie here in the order of theirs
            number = self.ledger.number(task_id, token)
            if number is None:
                return
            entry = LogEntry(id=task_id, token=token, n=number, message=message, percentage=percentage)
            self._inbox.entries.append(entry)
            self._changed.notify()

    # For the waiter and the process.

    def poke(self) -> None:
        """There may be something to claim."""
        with self._changed:
            self._inbox.poked = True
            self._changed.notify()

    def drain(self) -> None:
        """Claim nothing more; `run` returns when all that is held has ended."""
        self._draining = True
        self.poke()

    def give_up_all(self, overdue: Sequence[Ended]) -> None:
        """Say the last word of runs that will not end by themselves, and release all others; then `run` returns."""
        self.drain()  # first, so that nothing is claimed that nobody would give up
        told = {outcome.task_id for outcome in overdue}
        for outcome in overdue:
            self.ended(outcome)
        for task_id, token in self.ledger.tokens().items():
            if task_id not in told:
                self.ended(Ended(task_id=task_id, token=token, end=End.RELEASED))

    def abandon(self) -> None:
        """Do not wait for a database that is away any longer: what is not durable by now runs again
        elsewhere.
        """
        self._abandoned = True
        self.poke()

    def run(self) -> None:
        """Work until drained. Raises `WorkerGone` when the pool gave this worker up, and what Postgres or
        Redis raised.
        """
        self._step()
        while not (self._draining and not self.ledger.tokens()):
            batch, ended = self._collect()
            if batch:
                self._settle(batch, ended, self._write(batch))
            self._step()
            self._report()
        self._leave()

    def _collect(self) -> tuple[Batch, list[Ended]]:
        """Wait until there is something to record or to claim, then take it all."""
        with self._changed:
            if not self._claims and not self._finishes:
                inbox = self._inbox
                self._changed.wait_for(
                    lambda: inbox.ended or inbox.entries or inbox.poked, timeout=HOUSEKEEPING
                )
            taken, self._inbox = self._inbox, _Inbox()
        if self._draining and self._claims:
            self._give_back(self._claims)
            self._claims = []
        claims, self._claims = self._claims, []
        lock_keys, self._lock_keys = self._lock_keys, {}
        for outcome, _ in taken.ended:
            if outcome.seconds is not None:
                COUNTERS.ran(outcome.task_name, outcome.seconds)
            if outcome.end is End.LOST:
                COUNTERS.add(LOST)
                self.ledger.drop(outcome.task_id, outcome.token)
        ended: list[Ended] = []
        outcomes: list[ActivityUpdate] = []
        for run, number in taken.ended:
            if number is not None:
                ended.append(run)
                outcomes.append(self._outcome(run, number))
        return Batch(claims=claims, entries=taken.entries, outcomes=outcomes, lock_keys=lock_keys), ended

    def _last_number(self, ended: Ended) -> int | None:
        """The number of a run's last log entry; None where nothing is to be said, or its last word was."""
        if ended.end is End.LOST:
            return None
        return self.ledger.number(ended.task_id, ended.token, last=True)

    def _outcome(self, ended: Ended, number: int) -> ActivityUpdate:
        """What is to be recorded of an end."""
        settings = self._settings
        message = (
            ended.message
            or {
                End.COMPLETE: settings.activity_message_complete,
                End.RELEASED: "Released by a shutdown; it runs again.",
                End.CANCELED: "Canceled on request.",
            }.get(ended.end)
            or settings.activity_message_error.format(error=ended.error)
        )
        return ActivityUpdate(
            id=ended.task_id,
            token=ended.token,
            n=number,
            status=_STATUS[ended.end],
            message=message,
            percentage=100 if ended.end is End.COMPLETE else None,
            result=ended.result,
            error=ended.error,
            failed=ended.end is End.RETRY,
        )

    def _write(self, batch: Batch) -> Recorded:
        message = self._settings.activity_message_started
        return record(
            self._database, batch, started_message=message, give_up=self._gave_up, worker=self._worker
        )

    def _settle(self, batch: Batch, ended: Sequence[Ended], recorded: Recorded) -> None:
        """Act on what is durable now: start handlers, and tell the queue what is over."""
        runs = [
            HandlerRun(claim=c, **recorded.attempts[c.task_id]._asdict())
            for c in batch.claims
            if c.task_id in recorded.attempts
        ]
        self._host.begin(runs)
        COUNTERS.add(REDELIVERED, amount=sum(run.attempt > 1 for run in runs))
        for claim in batch.claims:
            if claim.task_id not in recorded.attempts:
                self._refuse(claim, recorded)
        self.finished += len(ended)
        released = {}
        for outcome in ended:
            if outcome.end is End.RELEASED and recorded.accepted.get(outcome.task_id) is Status.QUEUED:
                released[outcome.task_id] = outcome.token
            else:
                self._conclude(outcome, recorded)
            self.ledger.drop(outcome.task_id, outcome.token)
        self._release(released)

    def _refuse(self, claim: Claim, recorded: Recorded) -> None:
        """A claim whose activity may not run."""
        self.ledger.drop(claim.task_id, claim.token)
        if claim.task_id in recorded.over:
            self._finishes.append(
                Finish(task_id=claim.task_id, token=claim.token, disposition=Disposition.ACK)
            )
        elif claim.task_id in recorded.unknown:
            reason = "no activity is recorded for it"
            self._finishes.append(
                Finish(
                    task_id=claim.task_id,
                    token=claim.token,
                    disposition=Disposition.DEAD_LETTER,
                    reason=reason,
                )
            )
        elif claim.task_id in recorded.locked_out:  # the queue does not remember who has the lock
            self._finishes.append(
                Finish(
                    task_id=claim.task_id, token=claim.token, disposition=Disposition.DEFER, delay=LOCKED_OUT
                )
            )
        else:  # the queue's clock went back: ask for higher tokens from now on
            self._lowest_token = max(self._lowest_token, recorded.outranked[claim.task_id] + 1)
            self._finishes.append(
                Finish(task_id=claim.task_id, token=claim.token, disposition=Disposition.RETRY)
            )

    def _conclude(self, ended: Ended, recorded: Recorded) -> None:
        """Tell the queue how a run ended, if the record took our word or is closed anyway."""
        status = recorded.accepted.get(ended.task_id)
        if status is None and ended.task_id not in recorded.ended_by_others:
            _logger.warning(
                "the record refused the outcome of %s: its token %d is lost", ended.task_id, ended.token
            )
            COUNTERS.add(STALE)
            return
        if status is not None and status.terminal:
            COUNTERS.completed(ended.task_name, status.value)
        kept = {Status.QUEUED: Disposition.RETRY, Status.ERROR: Disposition.DEAD_LETTER}
        self._finishes.append(
            Finish(
                task_id=ended.task_id,
                token=ended.token,
                disposition=kept.get(status, Disposition.ACK) if status else Disposition.ACK,
                result=json.dumps(ended.result) if ended.end is End.COMPLETE and status else None,
                delay=ended.delay,
                reason=ended.error or "",
            )
        )

    def _step(self) -> None:
        """One round trip to Redis, and what follows from its answer."""
        finishes, self._finishes = self._finishes, []
        want = 0 if self._draining else max(0, self._settings.worker_concurrency - len(self.ledger))
        nonce = runtime.current().nonce()
        answer = in_redis(
            lambda: self._queue.step(
                StepRequest(
                    worker=self._worker,
                    nonce=nonce,
                    finishes=finishes,
                    want=want,
                    lowest_token=self._lowest_token,
                )
            ),
            give_up=self._gave_up,
        )
        claims = self._lock(answer.claims)
        for claim in claims:
            self.ledger.take(claim.task_id, claim.token)
            # A queue that lost its memory, and whose clock went back, must not give us the same token once more.
            self._lowest_token = max(self._lowest_token, claim.token + 1)
        self._claims += claims
        for stale in answer.stale:
            _logger.warning("the queue refused to finish %s: token %d is lost", stale.task_id, stale.token)
        COUNTERS.add(STALE, amount=len(answer.stale))
        COUNTERS.add(REAPED, EXPIRED, amount=sum(map(len, answer.expired)))
        self._bear_witness(answer)
        # The waiter listens only while there are free slots; this thread looks by itself once every
        # HOUSEKEEPING.
        if want > len(claims):
            self.next_look = min(
                HOUSEKEEPING, answer.next_due if answer.next_due is not None else HOUSEKEEPING
            )
            self.idle.set()

    def _lock(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Apply the lock keys that producers did not know of; returns the claims that may run."""
        keys = {claim.task_id: key for claim in claims if (key := self._lock_key(claim)) is not None}
        self._lock_keys |= keys  # also of those that have their partition from another worker: for the record
        wanted = {
            claim.task_id: (claim.token, keys[claim.task_id])
            for claim in claims
            if claim.task_id in keys and not claim.partitioned
        }
        if not wanted:
            return claims
        parked, lost = in_redis(lambda: self._queue.lock(wanted), give_up=self._gave_up)
        return [claim for claim in claims if claim.task_id not in parked and claim.task_id not in lost]

    def _lock_key(self, claim: Claim) -> str | None:
        if not self._registry.has_locks:
            return None
        try:
            name, context = decode_payload(claim.payload)
            definition = self._registry.get(name)
            return None if definition is None else definition.lock_key(context)
        except InvalidTask:  # the host dead-letters it with the reason
            return None

    def _bear_witness(self, answer: StepResult) -> None:
        """Write down what the queue took from holders that are silent; skipped if the row has moved on by
        itself.
        """
        if not any(answer.expired):
            return
        reaped, dead = answer.expired
        reason = f"its worker died more than {self._settings.max_crashes} times while running it"

        def work(connection: Connection) -> None:
            statements.record_revoked(connection, reaped, Status.QUEUED, "Its lease expired; it runs again.")
            statements.record_revoked(connection, dead, Status.ERROR, f"Dead-lettered: {reason}.", reason)

        in_transaction(self._database, work, give_up=self._gave_up)

    def _give_back(self, claims: Sequence[Claim]) -> None:
        """Return claims that were never started."""
        leases = {claim.task_id: claim.token for claim in claims}
        self._release(leases)
        for task_id, token in leases.items():
            self.ledger.drop(task_id, token)

    def _leave(self) -> None:
        """Say goodbye, so that nobody waits for leases of ours to expire."""
        self._release(None, declare_gone=True)

    def _release(self, leases: Mapping[UUID, int] | None, *, declare_gone: bool = False) -> None:
        in_redis(
            lambda: self._queue.release(self._worker, leases, declare_gone=declare_gone),
            give_up=self._gave_up,
        )

    def _gave_up(self) -> bool:
        return self._abandoned
