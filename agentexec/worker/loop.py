"""The I/O thread of a worker: claims, records, finishes. Handlers never wait for it and cannot block it.

One round is a transaction in Postgres (the starts, progress and ends that gathered meanwhile) and a step in Redis
(finishes what the transaction made durable, claims for the free slots). Under load both carry many tasks; on an idle
queue a task passes through one of each before its handler begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.core.counters import COMPLETED, COUNTERS, EXPIRED, LOST, REAPED, REDELIVERED, STALE
from agentexec.errors import InvalidTask
from agentexec.queue.dead_letters import log_dead_letter
from agentexec.queue.protocol import Claim, Disposition, Finish, Queue, StepRequest, Tokens
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.task import Registry, decode_payload
from agentexec.text import storable_text
from agentexec.worker.leases import HeldLeases
from agentexec.worker.pool_match import PoolMatch
from agentexec.worker.progress import PendingProgress
from agentexec.worker.recording import Batch, Recorded, record, record_revocations
from agentexec.worker.retrying import Retrying
from agentexec.worker.run_result import RunKind, RunResult, endings, failed
from agentexec.worker.runner import HandlerRun, HandlerRunner

HOUSEKEEPING = 1.0  # seconds between two steps of a worker that has nothing to do
# Seconds between two steps of a worker with leases: the answer names those to be canceled.
CANCELS_EVERY = 0.5
# Seconds for handlers that are short to end, again while this share of the slots becomes free.
LINGER, LINGER_SHARE = 0.001, 1 / 8

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Inbox:
    """Events queued for the I/O thread; guarded by `_changed`. A result has the number of its log entry."""

    results: list[tuple[RunResult, int | None]] = field(default_factory=list)
    progress: PendingProgress = field(default_factory=PendingProgress)
    awake: bool = False


class WorkerLoop:
    """The I/O side of one worker process. `run` needs a thread of its own; the rest may be called from any thread."""

    def __init__(
        self,
        *,
        worker: str,
        queue: Queue,
        engine: Engine,
        settings: Settings,
        registry: Registry,
        event_loop: asyncio.AbstractEventLoop,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        """`event_loop` runs the handlers. `report` is called after every round, to send the counters."""
        self.worker = worker
        self.queue = queue
        self.settings = settings
        self.event_loop = event_loop
        self._registry = registry
        self._report = report
        self._retrying = Retrying(engine, lambda: self._abandoned)
        self._pool_match = PoolMatch(registry, queue, self._retrying, settings.unknown_task_seconds)
        self._endings = endings(settings)
        self.runner = HandlerRunner(registry, settings, event_loop, self)
        self.leases = HeldLeases()
        self.idle = runtime.current().event()  # set while the waiter is to listen for new tasks
        self.next_look = HOUSEKEEPING  # seconds that it may listen
        self.finished = 0  # runs that ended, for the recycling of the process
        self._changed = runtime.current().condition()
        self._inbox = _Inbox()
        self._claims: list[Claim] = []
        self._lock_keys: dict[UUID, str] = {}  # of claims whose producers did not know them
        self._unfit: dict[UUID, str] = {}  # claims that can never run, with the reasons
        self._finishes: list[Finish] = []
        self._lowest_token = 0
        self._backlog = False  # whether the last step claimed as many tasks as it could
        self._draining = False
        self._abandoned = False

    def ended(self, result: RunResult) -> None:
        """Queue the result of a run. What its handler reports from here on is ignored."""
        lost = result.kind is RunKind.LOST
        with self._changed:
            number = None if lost else self.leases.number(result.task_id, result.token, last=True)
            self._inbox.results.append((result, number))
            self._changed.notify()

    def progress(self, task_id: UUID, token: int, message: str, percentage: int | None) -> None:
        """Queue progress of a handler, to be recorded with the next batch; past its limits it replaces the newest."""
        with self._changed:  # also around the number: the entries have to lie here in its order
            pending = self._inbox.progress
            number = self.leases.number(task_id, token, again=pending.is_full(task_id, token))
            if number is None:
                return
            pending.add(LogEntry(id=task_id, token=token, n=number, message=message, percentage=percentage))
            self._changed.notify()

    def wake(self) -> None:
        """Make the next round begin at once: there may be something to claim."""
        with self._changed:
            self._inbox.awake = True
            self._changed.notify()

    def drain(self) -> None:
        """Claim nothing more; `run` returns when all leases have ended."""
        self._draining = True
        self.wake()

    def end_all(self, overdue: Sequence[RunResult]) -> None:
        """Record the results of overdue runs, and release all other leases; then `run` returns."""
        self.drain()  # first, so that nothing is claimed after this
        for result in overdue:
            self.ended(result)
        self.release_all(but={(result.task_id, result.token) for result in overdue})

    def release_all(self, *, but: Collection[tuple[UUID, int]] = ()) -> None:
        """Release every lease without waiting for its handler."""
        for task_id, token in self.leases.tokens().items():
            if (task_id, token) not in but:
                self.ended(RunResult(task_id=task_id, token=token, kind=RunKind.RELEASED))

    def abandon(self) -> None:
        """Do not wait for a server that is away any longer: what is not durable by now runs again elsewhere."""
        self._abandoned = True
        self.wake()

    def leases_without_answer(self) -> dict[UUID, int]:
        """The leases that only a silent Postgres keeps here: those of tasks that have not begun or have ended.

        There are none until it has been silent for longer than a lease. A handler that runs needs no answer yet.
        """
        since = self._retrying.silent_since
        if since is None or runtime.current().monotonic() - since <= self.settings.lease_seconds:
            return {}
        running = self.runner.running()
        return {i: token for i, token in self.leases.tokens().items() if i not in running}

    def run(self) -> None:
        """Work until drained.

        Raises `WorkerGone` if the queue declared this worker dead, and what Postgres or Redis raised.
        """
        self._step()
        while self.leases or not self._draining:
            batch, results = self._collect()
            if batch:
                recorded = record(self._retrying, batch, self.settings, worker=self.worker)
                self._settle(batch, results, recorded)
                self._linger()
            if self._finishes or self._free_slots() or not batch.claims:
                self._step()
            self._report()
        self._release(None, declare_gone=True)  # so that no lease has to expire

    def _free_slots(self) -> int:
        # A slot is free once its handler has ended: the statement that records its end also starts the next task.
        return max(0, self.settings.worker_concurrency - self.leases.running())

    def _linger(self) -> None:
        """Let short handlers end, where the queue had a task for each free slot: then batches are large."""
        least = self.settings.worker_concurrency * LINGER_SHARE
        running, ended = self.leases.running(), least if self._backlog else 0
        while running and ended >= least:
            runtime.current().sleep(LINGER)
            ended, running = running - self.leases.running(), self.leases.running()

    def _collect(self) -> tuple[Batch, list[RunResult]]:
        """Wait until there is something to record or to claim, then take all of it."""
        taken = self._inbox
        if not self._claims and not self._finishes:
            with self._changed:
                self._changed.wait_for(
                    lambda: taken.results or taken.progress or taken.awake,
                    timeout=CANCELS_EVERY if self.leases else HOUSEKEEPING,
                )
            if taken.results and self._backlog:  # one statement has their ends and the next starts
                self._linger()
                self._step()
        with self._changed:
            self._inbox = _Inbox()
        if self._draining and self._claims:
            self._return_claims()
        entries = taken.progress.entries()
        batch = Batch(claims=self._claims, entries=entries, lock_keys=self._lock_keys, unfit=self._unfit)
        self._claims, self._lock_keys, self._unfit = [], {}, {}
        results: list[RunResult] = []
        for result, number in taken.results:
            if result.seconds is not None:
                COUNTERS.ran(result.task_name, result.seconds)
            if result.kind is RunKind.LOST:
                COUNTERS.add(LOST)
                self.leases.remove(result.task_id, result.token)
            elif number is not None:
                results.append(result)
                batch.updates.append(self._update(result, number))
                if result.result is not None:
                    batch.result_bytes[result.task_id] = len(result.encoded.encode())
        return batch, results

    def _update(self, result: RunResult, number: int) -> ActivityUpdate:
        status, _, message = self._endings[result.kind]
        if result.error is not None:
            message = message.format(error=result.error)
        if result.traceback is not None:
            message = f"{message}\n{result.traceback}"
        return ActivityUpdate(
            id=result.task_id,
            token=result.token,
            n=number,
            status=status,
            message=result.message or message,
            percentage=100 if result.kind is RunKind.COMPLETE else None,
            result=result.result,
            error=result.error,
            failed=result.kind is RunKind.RETRY,
        )

    def _settle(self, batch: Batch, results: Sequence[RunResult], recorded: Recorded) -> None:
        """Act on what is durable now: start handlers, and prepare the finishes for the queue."""
        runs = [
            HandlerRun(claim=claim, attempt=started.attempt, failures=started.failures)
            for claim in batch.claims
            if (started := recorded.started.get(claim.task_id))
            and (claim.task_id, claim.token) in self.leases
        ]
        self.runner.begin(runs)
        leases = self.leases.tokens()
        given_up = {run.claim.task_id for run in runs if leases.get(run.claim.task_id) != run.claim.token}
        if given_up:  # by the renewer, which could not stop what had not begun
            self.runner.stop(dict.fromkeys(given_up, RunKind.LOST))
        COUNTERS.add(REDELIVERED, amount=sum(run.attempt > 1 for run in runs))
        for finish, fence in recorded.refused.values():
            if finish.disposition is Disposition.DEAD_LETTER:
                log_dead_letter(finish.task_id, "", finish.reason)
            self.leases.remove(finish.task_id, finish.token)
            self._finishes.append(finish)
            self._lowest_token = max(self._lowest_token, 0 if fence is None else fence + 1)
        self.finished += len(results)
        released: dict[UUID, int] = {}
        for result in results:
            reason = recorded.failed.get(result.task_id)
            self._conclude(result if reason is None else failed(result, reason), recorded, released)
            self.leases.remove(result.task_id, result.token)
        self._release(released)

    def _conclude(self, result: RunResult, recorded: Recorded, released: dict[UUID, int]) -> None:
        """Prepare the end of a lease whose end the record took, or whose activity is over anyway."""
        status = recorded.accepted.get(result.task_id)
        if status is None and result.task_id not in recorded.over:
            message = "the record refused the end of %s: its token %d is lost"
            _logger.warning(message, result.task_id, result.token)
            COUNTERS.add(STALE)
            return
        if status is not None and status.terminal:
            COUNTERS.add(COMPLETED, result.task_name, status.value)
        ending = self._endings[result.kind]
        # Another status means that the activity is over: canceled, or ended by others.
        disposition = ending.disposition if status is ending.status else Disposition.ACK
        if disposition is None:
            released[result.task_id] = result.token
            return
        if disposition is Disposition.DEAD_LETTER:
            log_dead_letter(result.task_id, result.task_name, result.error or "")
        finish = Finish(
            task_id=result.task_id,
            token=result.token,
            disposition=disposition,
            delay=result.delay,
            reason=result.error or "",
            # The record has it too; `get_result` looks into the queue first.
            result=result.encoded if status is Status.COMPLETE else None,
        )
        self._finishes.append(finish)

    def _step(self) -> None:
        """One round trip to Redis, and what follows from its answer."""
        finishes, self._finishes = self._finishes, []
        want = 0 if self._draining else self._free_slots()
        request = StepRequest(
            worker=self.worker,
            nonce=runtime.current().nonce(),
            want=want,
            finishes=finishes,
            lowest_token=self._lowest_token,
            busy=bool(self.leases),
        )
        answer = self._retrying.until_done(lambda: self.queue.step(request))
        self._pool_match.note(answer.names)
        claims = self._lock(self._pool_match.hand_back(answer.claims))
        if claims and (again := self.runner.running().intersection(claim.task_id for claim in claims)):
            self.runner.stop(dict.fromkeys(again, RunKind.LOST))  # it lost them; the new start may be refused
        for claim in claims:
            self.leases.add(claim.task_id, claim.token)
            # A queue that lost its contents, and whose clock went back, must not give this token again.
            self._lowest_token = max(self._lowest_token, claim.token + 1)
        self._claims += claims
        self._backlog = len(answer.claims) >= want
        for stale in answer.stale:
            _logger.warning("the queue refused to finish %s: token %d is lost", stale.task_id, stale.token)
        for text in answer.foreign:
            log_dead_letter(text, "", "it is not the id of a task")
        COUNTERS.add(STALE, amount=len(answer.stale))
        COUNTERS.add(REAPED, EXPIRED, amount=sum(map(len, answer.expired)))
        if answer.canceled:
            self.runner.stop(dict.fromkeys(answer.canceled, RunKind.CANCELED))
        if any(answer.expired):
            record_revocations(self._retrying, answer.expired, "Its lease expired; it runs again.")
        # The waiter listens only while there are slots to fill; this thread looks itself once every HOUSEKEEPING.
        if want > len(claims) and not answer.reserved:
            due = answer.next_due
            self.next_look = HOUSEKEEPING if due is None else min(HOUSEKEEPING, due)
            self.idle.set()

    def _lock(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Apply the lock keys that producers did not know; returns the claims that may run."""
        if not claims or all(one.lock_template is None for one in self._registry.values()):
            return claims
        keys: dict[UUID, str] = {}
        for claim in claims:
            try:
                key = self._lock_key(claim)
            except InvalidTask as error:
                self._unfit[claim.task_id] = storable_text(str(error))
            else:
                keys |= {} if key is None else {claim.task_id: key}
        self._lock_keys |= keys  # also of those whose partition another worker set: for the record
        tokens = {claim.task_id: claim.token for claim in claims if not claim.partitioned}
        wanted = {task_id: (tokens[task_id], key) for task_id, key in keys.items() if task_id in tokens}
        if not wanted:
            return claims
        waiting, lost = self._retrying.until_done(lambda: self.queue.lock(wanted))
        return [claim for claim in claims if claim.task_id not in waiting and claim.task_id not in lost]

    def _lock_key(self, claim: Claim) -> str | None:
        try:
            name, context = decode_payload(claim.payload)
        except InvalidTask:  # the runner fails it with this reason
            return None
        definition = self._registry.get(name)
        return None if definition is None else definition.lock_key(context)

    def _return_claims(self) -> None:
        """Release claims that were never started."""
        leases = {claim.task_id: claim.token for claim in self._claims}
        self._claims, self._unfit = [], {}
        self._release(leases)
        for task_id, token in leases.items():
            self.leases.remove(task_id, token)

    def _release(self, leases: Tokens | None, *, declare_gone: bool = False) -> None:
        self._retrying.until_done(lambda: self.queue.release(self.worker, leases, declare_gone=declare_gone))
