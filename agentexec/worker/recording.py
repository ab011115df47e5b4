"""One turn of a worker at the record: what starts, what was reported, what ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, Engine

from agentexec.queue.protocol import Claim
from agentexec.store import reading, statements
from agentexec.store.rows import ActivityUpdate, LogEntry, Start, Started
from agentexec.store.status import Status
from agentexec.worker.retrying import in_statement, in_transaction


@dataclass(kw_only=True, slots=True)
class Batch:
    """What is to be recorded together."""

    claims: Sequence[Claim] = ()
    entries: Sequence[LogEntry] = ()
    outcomes: Sequence[ActivityUpdate] = ()
    lock_keys: Mapping[UUID, str] = field(default_factory=dict)  # of claims whose producers knew none

    def __bool__(self) -> bool:
        return bool(self.claims or self.entries or self.outcomes)


@dataclass(kw_only=True, slots=True)
class Recorded:
    """What the record made of a batch.

    `attempts` are the claims that may run. `refused` claims may not: `over` ones are terminal, `outranked`
    ones were started under a higher token than the queue gave (its clock went back), `unknown` ones have no
    activity, `locked_out` ones wait for another that still runs under their lock key. `accepted` outcomes are
    durable; `ended_by_others` are terminal through somebody else's word.
    """

    attempts: Mapping[UUID, Started] = field(default_factory=dict)
    over: set[UUID] = field(default_factory=set)
    outranked: dict[UUID, int] = field(default_factory=dict)
    unknown: set[UUID] = field(default_factory=set)
    locked_out: set[UUID] = field(default_factory=set)
    accepted: Mapping[UUID, Status] = field(default_factory=dict)
    ended_by_others: set[UUID] = field(default_factory=set)


def record(
    database: Engine,
    batch: Batch,
    *,
    started_message: str,
    give_up: Callable[[], bool],
    worker: str = "",
) -> Recorded:
    """Record a batch of `worker`; returns when it is durable. Progress first, since nothing may follow the end of its
    claim.
    """
    if batch.entries:
        in_transaction(
            database,
            lambda connection: statements.record_progress(connection, batch.entries),
            give_up=give_up,
        )
    tokens = {claim.task_id: claim.token for claim in batch.claims}
    starts = [
        Start(claim.task_id, claim.token, started_message, worker, batch.lock_keys.get(claim.task_id))
        for claim in batch.claims
    ]
    attempts, accepted = in_statement(
        database,
        lambda connection: statements.record_batch(connection, starts, batch.outcomes),
        give_up=give_up,
    )
    recorded = Recorded(attempts=attempts, accepted=accepted)
    refused = {task_id: token for task_id, token in tokens.items() if task_id not in attempts}
    unaccepted = [outcome.id for outcome in batch.outcomes if outcome.id not in accepted]
    if refused or unaccepted:
        in_transaction(
            database, lambda connection: _explain(connection, refused, unaccepted, recorded), give_up=give_up
        )
    return recorded


def _explain(
    connection: Connection, refused: Mapping[UUID, int], unaccepted: Sequence[UUID], recorded: Recorded
) -> None:
    ends = reading.standings(connection, unaccepted)
    recorded.ended_by_others = {i for i in unaccepted if i not in ends or ends[i].status.terminal}
    standings = reading.standings(connection, refused)
    canceled = {}
    for task_id, token in refused.items():
        standing = standings.get(task_id)
        if standing is None:
            recorded.unknown.add(task_id)
        elif standing.status.terminal:
            recorded.over.add(task_id)
        elif standing.cancel_requested and standing.fence < token:
            canceled[task_id] = token
        elif standing.fence < token:
            recorded.locked_out.add(task_id)
        else:
            recorded.outranked[task_id] = standing.fence
    recorded.over |= statements.record_terminated(
        connection, canceled, Status.CANCELED, "Canceled on request."
    )
