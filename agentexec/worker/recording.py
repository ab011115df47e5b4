"""One transaction of a worker: what starts, what was reported, what ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from agentexec.activity import reading, store
from agentexec.activity.rows import LogEntry, Outcome
from agentexec.activity.status import Status
from agentexec.queue import Claim


@dataclass(kw_only=True, slots=True)
class Batch:
    """What is to be recorded together."""

    claims: Sequence[Claim] = ()
    entries: Sequence[LogEntry] = ()
    outcomes: Sequence[Outcome] = ()

    def __bool__(self) -> bool:
        return bool(self.claims or self.entries or self.outcomes)


@dataclass(kw_only=True, slots=True)
class Recorded:
    """What the record made of a batch.

    `attempts` are the claims that may run. `refused` claims may not: `over` ones are terminal, `outranked`
    ones were started under a higher token than the queue gave (its clock went back), `unknown` ones have no
    activity. `accepted` outcomes are durable; `ended_by_others` are terminal through somebody else's word.
    """

    attempts: Mapping[UUID, int] = field(default_factory=dict)
    over: set[UUID] = field(default_factory=set)
    outranked: dict[UUID, int] = field(default_factory=dict)
    unknown: set[UUID] = field(default_factory=set)
    accepted: Mapping[UUID, Status] = field(default_factory=dict)
    ended_by_others: set[UUID] = field(default_factory=set)


def write(connection: Connection, batch: Batch, *, started_message: str) -> Recorded:
    """Record a batch inside the caller's transaction."""
    recorded = Recorded()
    tokens = {claim.task_id: claim.token for claim in batch.claims}
    if tokens:
        recorded.attempts = store.start(connection, tokens, started_message)
        _explain(connection, {i: t for i, t in tokens.items() if i not in recorded.attempts}, recorded)
    store.append(connection, batch.entries)
    recorded.accepted = store.finish(connection, batch.outcomes)
    refused = [outcome.id for outcome in batch.outcomes if outcome.id not in recorded.accepted]
    standings = reading.standings(connection, refused)
    recorded.ended_by_others = {i for i in refused if i not in standings or standings[i].status.terminal}
    return recorded


def _explain(connection: Connection, refused: Mapping[UUID, int], recorded: Recorded) -> None:
    standings = reading.standings(connection, refused)
    cancelled = {}
    for task_id, token in refused.items():
        standing = standings.get(task_id)
        if standing is None:
            recorded.unknown.add(task_id)
        elif standing.status.terminal:
            recorded.over.add(task_id)
        elif standing.cancel_requested and standing.fence < token:
            cancelled[task_id] = token
        else:
            recorded.outranked[task_id] = standing.fence
    recorded.over |= store.end_unstarted(connection, cancelled, Status.CANCELED, "Canceled on request.")
