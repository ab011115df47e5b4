"""Record one batch of a worker in Postgres: starts, progress and ends of tasks, and revoked leases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from agentexec.config import Settings
from agentexec.queue.dead_letters import log_dead_letters
from agentexec.queue.protocol import Claim, Disposition, Finish, Revocations
from agentexec.store import reading, statements
from agentexec.store.dialects import parts
from agentexec.store.refusals import Refused
from agentexec.store.rows import ActivityUpdate, LogEntry, Start, Started
from agentexec.store.status import Status
from agentexec.worker.retrying import Retrying

# Without the number: the queue applies the one that the pools agreed on, which may not be this pool's.
CRASHED = "its worker died more often than AGENTEXEC_MAX_CRASHES allows while running it"
DEFER_SECONDS = 1.0  # until a task asks again for a lock key under which another one runs

_logger = logging.getLogger(__name__)


def log_refused(task_id: UUID, reason: str) -> None:
    """Log that what happened to a task cannot be recorded."""
    _logger.error("what happened to task %s is not recorded: %s", task_id, reason)


@dataclass(kw_only=True, slots=True)
class Batch:
    """What is to be recorded together."""

    claims: Sequence[Claim] = ()
    entries: Sequence[LogEntry] = ()
    updates: list[ActivityUpdate] = field(default_factory=list)
    lock_keys: Mapping[UUID, str] = field(default_factory=dict)  # of claims whose producers did not know them
    unfit: Mapping[UUID, str] = field(default_factory=dict)  # claims that can never run, with the reasons
    result_bytes: dict[UUID, int] = field(default_factory=dict)  # of updates with a result

    def __bool__(self) -> bool:
        return bool(self.claims or self.entries or self.updates)


class RefusedClaim(NamedTuple):
    """A claim that may not run: its finish, and the fence of its row if no token up to that may be given again."""

    finish: Finish
    fence: int | None = None


@dataclass(kw_only=True, slots=True)
class Recorded:
    """The record's answer to a batch."""

    started: dict[UUID, Started] = field(default_factory=dict)  # claims that may run
    # Updates that are durable, with the status that the activity has now.
    accepted: dict[UUID, Status] = field(default_factory=dict)
    over: set[UUID] = field(default_factory=set)  # refused updates of activities that are terminal already
    refused: dict[UUID, RefusedClaim] = field(default_factory=dict)
    # Tasks whose data cannot be recorded, with the reasons.
    failed: dict[UUID, str] = field(default_factory=dict)


def record(retrying: Retrying, batch: Batch, settings: Settings, *, worker: str = "") -> Recorded:
    """Record a batch of `worker`; returns when it is durable.

    A task whose data the database refuses becomes ERROR with the reason, and the rest of the batch is recorded.
    """
    recorded = Recorded(failed=dict(batch.unfit))
    _record_progress(retrying, batch.entries)  # first, since no entry may follow the end of its run
    message = settings.activity_message_started
    starts = [
        Start(claim.task_id, claim.token, message, worker, batch.lock_keys.get(claim.task_id))
        for claim in batch.claims
        if claim.task_id not in batch.unfit
    ]
    rows: list[Start | ActivityUpdate] = [*starts, *batch.updates]
    results = batch.result_bytes
    for part in parts(rows, (lambda row: _bytes(row) + results.get(row.id, 0)) if results else _bytes):
        _record_rows(retrying, part, recorded)
    if recorded.failed:
        _record_failures(retrying, batch, settings.activity_message_error, recorded)
    answered = {**recorded.started, **recorded.refused}  # unlike a set, without a new hash of each id
    refused = {claim.task_id: claim.token for claim in batch.claims if claim.task_id not in answered}
    unaccepted = [update.id for update in batch.updates if update.id not in recorded.accepted]
    _explain(retrying, refused, unaccepted, recorded)
    return recorded


def _record_progress(retrying: Retrying, entries: Sequence[LogEntry]) -> None:
    def refused(entry: LogEntry, reason: str) -> None:
        _logger.error("progress of task %s is left out: %s", entry.id, reason)
        # So that the log has no hole at its number.
        instead = replace(entry, message=f"Progress is left out: {reason}.", percentage=None)
        with suppress(Refused):
            retrying.transaction(lambda connection: statements.record_progress(connection, [instead]))

    for part in parts(entries, _bytes):
        retrying.record(part, statements.record_progress, refused)


def _bytes(row: Start | ActivityUpdate | LogEntry) -> int:
    """The size of a row without its result."""
    error = row.error if isinstance(row, ActivityUpdate) else None
    return len(row.message.encode()) + len((error or "").encode())


def _record_rows(retrying: Retrying, rows: Sequence[Start | ActivityUpdate], recorded: Recorded) -> None:
    def write(
        connection: Connection, part: Sequence[Start | ActivityUpdate]
    ) -> tuple[dict[UUID, Started], dict[UUID, Status]]:
        starts = [row for row in part if isinstance(row, Start)]
        updates = [row for row in part if isinstance(row, ActivityUpdate)]
        return statements.record_batch(connection, starts, updates)

    def refused(row: Start | ActivityUpdate, reason: str) -> None:
        _logger.error("task %s fails for good: %s", row.id, reason)
        recorded.failed[row.id] = reason

    for started, accepted in retrying.record(rows, write, refused, single_statement=True):
        recorded.started |= started
        recorded.accepted |= accepted


def _record_failures(retrying: Retrying, batch: Batch, text: str, recorded: Recorded) -> None:
    """Record ERROR for the tasks in `recorded.failed`; they become dead letters also where that is refused."""
    for claim in batch.claims:
        reason = recorded.failed.get(claim.task_id)
        if reason is not None and _end_unstarted(retrying, claim, text.format(error=reason), reason):
            recorded.refused[claim.task_id] = _dead_letter(claim.task_id, claim.token, reason)
    error = Status.ERROR
    failures = [
        ActivityUpdate(id=u.id, token=u.token, n=u.n, status=error, message=text.format(error=why), error=why)
        for u in batch.updates
        if (why := recorded.failed.get(u.id)) is not None
    ]
    answer = Recorded()
    _record_rows(retrying, failures, answer)
    recorded.accepted |= answer.accepted | dict.fromkeys(answer.failed, Status.ERROR)


def _end_unstarted(retrying: Retrying, claim: Claim, message: str, reason: str) -> bool:
    """Record ERROR for a claim that cannot run; False if its activity is over or has a higher token."""
    token = {claim.task_id: claim.token}

    def end(connection: Connection) -> bool:
        ended = statements.record_terminated(connection, token, Status.ERROR, message, reason)
        statements.mark_dead_letters(connection, ended)
        return bool(ended)

    try:
        return retrying.transaction(end)
    except Refused:
        return True


def record_revocations(
    retrying: Retrying, revoked: Revocations, message: str, refused: Callable[[UUID, str], None] = log_refused
) -> None:
    """Record QUEUED with this message, or ERROR, for tasks whose holders lost their lease; log the dead letters.

    A row that moved on is left as it is. `refused` is called with each task of which the database refuses it.
    """

    def requeue(connection: Connection, part: Sequence[UUID]) -> None:
        tokens = {i: revoked.requeued[i] for i in part}
        statements.record_revoked(connection, tokens, Status.QUEUED, message)

    def end(connection: Connection, part: Sequence[UUID]) -> dict[UUID, str]:
        tokens, why = {i: revoked.dead[i] for i in part}, f"Dead-lettered: {CRASHED}."
        ended = statements.record_revoked(connection, tokens, Status.ERROR, why, CRASHED)
        return reading.dead_letter_names(connection, ended)

    retrying.record([*revoked.requeued], requeue, refused)
    for names in retrying.record([*revoked.dead], end, refused):
        log_dead_letters(names, dict.fromkeys(names, CRASHED))


def _explain(
    retrying: Retrying, claims: Mapping[UUID, int], unaccepted: Sequence[UUID], recorded: Recorded
) -> None:
    """Find out why claims (with their tokens) and updates were refused."""

    def explain(connection: Connection, part: Sequence[UUID]) -> None:
        tokens = {i: claims[i] for i in part if i in claims}
        standings = reading.standings(connection, {*part})
        over = {i for i, standing in standings.items() if standing.status.terminal}
        recorded.over |= {i for i in part if i not in claims and (i not in standings or i in over)}
        pending = {i: standing for i, standing in standings.items() if i in tokens and i not in over}
        canceled = {i: tokens[i] for i, s in pending.items() if s.cancel_requested and s.fence < tokens[i]}
        over |= statements.record_terminated(connection, canceled, Status.CANCELED, "Canceled on request.")
        for task_id, token in tokens.items():
            disposition, delay, reason, fence = Disposition.ACK, 0.0, "", None
            if task_id not in standings:
                disposition, reason = Disposition.DEAD_LETTER, "no activity is recorded for it"
            elif task_id not in over and (standings[task_id].fence >= token or task_id in canceled):
                # The queue's clock went back, or the row changed meanwhile.
                disposition, fence = Disposition.RETRY, standings[task_id].fence
            elif task_id not in over:  # another task runs under its lock key, which the queue does not know
                disposition, delay = Disposition.DEFER, DEFER_SECONDS
            finish = Finish(task_id=task_id, token=token, disposition=disposition, delay=delay, reason=reason)
            recorded.refused[task_id] = RefusedClaim(finish, fence)

    def refused(task_id: UUID, reason: str) -> None:
        _logger.error("task %s is a dead letter: %s", task_id, reason)
        if task_id in claims:
            recorded.refused[task_id] = _dead_letter(task_id, claims[task_id], reason)

    retrying.record([*claims, *unaccepted], explain, refused)


def _dead_letter(task_id: UUID, token: int, reason: str) -> RefusedClaim:
    finish = Finish(task_id=task_id, token=token, disposition=Disposition.DEAD_LETTER, reason=reason)
    return RefusedClaim(finish)
