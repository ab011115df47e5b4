"""Record one batch of a worker in Postgres: starts, progress and ends of tasks, and revoked leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from agentexec.queue.dead_letters import log_dead_letters
from agentexec.queue.protocol import Claim, Disposition, Finish, Revocations
from agentexec.store import reading, statements
from agentexec.store.rows import ActivityUpdate, LogEntry, Start, Started
from agentexec.store.status import Status
from agentexec.worker.retrying import Retrying

# Without the number: the queue applies the one that the pools agreed on, which may not be this pool's.
CRASHED = "its worker died more often than AGENTEXEC_MAX_CRASHES allows while running it"
DEFER_SECONDS = 1.0  # until a task asks again for a lock key under which another one runs


@dataclass(kw_only=True, slots=True)
class Batch:
    """What is to be recorded together."""

    claims: Sequence[Claim] = ()
    entries: Sequence[LogEntry] = ()
    updates: Sequence[ActivityUpdate] = ()
    lock_keys: Mapping[UUID, str] = field(default_factory=dict)  # of claims whose producers did not know them

    def __bool__(self) -> bool:
        return bool(self.claims or self.entries or self.updates)


@dataclass(kw_only=True, slots=True)
class Recorded:
    """The record's answer to a batch."""

    started: Mapping[UUID, Started]  # claims that may run
    accepted: Mapping[UUID, Status]  # updates that are durable, with the status that the activity has now
    over: set[UUID] = field(default_factory=set)  # refused updates of activities that are terminal already
    refused: dict[UUID, Finish] = field(default_factory=dict)  # claims that may not run, with their finish
    outranked: dict[UUID, int] = field(default_factory=dict)  # refused claims with a token below this fence


def record(retrying: Retrying, batch: Batch, *, started_message: str, worker: str = "") -> Recorded:
    """Record a batch of `worker`; returns when it is durable."""
    if batch.entries:  # first, since no entry may follow the end of its run
        retrying.transaction(lambda connection: statements.record_progress(connection, batch.entries))
    starts = [
        Start(claim.task_id, claim.token, started_message, worker, batch.lock_keys.get(claim.task_id))
        for claim in batch.claims
    ]
    started, accepted = retrying.transaction(
        lambda connection: statements.record_batch(connection, starts, batch.updates), single_statement=True
    )
    recorded = Recorded(started=started, accepted=accepted)
    refused = {claim.task_id: claim.token for claim in batch.claims if claim.task_id not in started}
    unaccepted = [update.id for update in batch.updates if update.id not in accepted]
    if refused or unaccepted:
        retrying.transaction(lambda connection: _explain(connection, refused, unaccepted, recorded))
    return recorded


def record_revocations(
    connection: Connection, revoked: Revocations, requeued_message: str
) -> dict[UUID, str]:
    """Record QUEUED or ERROR for tasks whose holders lost their lease; a row that moved on is left as it is.

    Returns the task names of those that are dead letters now, to be logged once they are durable.
    """
    statements.record_revoked(connection, revoked.requeued, Status.QUEUED, requeued_message)
    message = f"Dead-lettered: {CRASHED}."
    dead = statements.record_revoked(connection, revoked.dead, Status.ERROR, message, CRASHED)
    return reading.dead_letter_names(connection, dead)


def log_crashed(names: Mapping[UUID, str]) -> None:
    """Log the dead letters that `record_revocations` returned."""
    log_dead_letters(names, dict.fromkeys(names, CRASHED))


def _explain(
    connection: Connection, refused: Mapping[UUID, int], unaccepted: Sequence[UUID], recorded: Recorded
) -> None:
    """Find out why claims and updates were refused."""
    standings = reading.standings(connection, {*unaccepted, *refused})
    over = {i for i, standing in standings.items() if standing.status.terminal}
    recorded.over = {i for i in unaccepted if i not in standings or i in over}
    pending = {i: standing for i, standing in standings.items() if i in refused and i not in over}
    canceled = {i: refused[i] for i, s in pending.items() if s.cancel_requested and s.fence < refused[i]}
    over |= statements.record_terminated(connection, canceled, Status.CANCELED, "Canceled on request.")
    for task_id, token in refused.items():
        disposition, delay, reason = Disposition.ACK, 0.0, ""
        if task_id not in standings:
            disposition, reason = Disposition.DEAD_LETTER, "no activity is recorded for it"
        elif task_id not in over and (standings[task_id].fence >= token or task_id in canceled):
            # The queue's clock went back, or the row changed meanwhile.
            recorded.outranked[task_id] = standings[task_id].fence
            disposition = Disposition.RETRY
        elif task_id not in over:  # another task runs under its lock key, which the queue does not know
            disposition, delay = Disposition.DEFER, DEFER_SECONDS
        recorded.refused[task_id] = Finish(
            task_id=task_id, token=token, disposition=disposition, delay=delay, reason=reason
        )
