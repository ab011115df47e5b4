"""Rows and log entries read past the store, and the transitions that a test accepts in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, select

from agentexec.identifiers import new_id
from agentexec.store.models import Activity, ActivityLog
from agentexec.store.rows import NewActivity, Start

# Repeated from docs/reference/queue-protocol.md: a test that takes them from the code under test repeats its mistakes.
LEGAL_MOVES = {
    ("queued", "running"),
    ("queued", "canceled"),
    ("queued", "error"),
    ("running", "running"),
    ("running", "queued"),
    ("running", "complete"),
    ("running", "error"),
    ("running", "canceled"),
}
OVER = {"complete", "error", "canceled"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a log."""

    fence: int
    n: int
    status: str
    message: str
    percentage: int | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One activity and its log in order."""

    status: str
    fence: int
    attempt: int
    result: Any
    error: str | None
    cancel_requested: bool
    dispatched: bool
    log: tuple[Entry, ...]


def new_activity(
    queue_name: str = "tests",
    *,
    task_name: str = "task",
    idempotency_key: str | None = None,
    lock_key: str | None = None,
    delay: float = 0.0,
) -> NewActivity:
    """A new activity, not yet in the store."""
    return NewActivity(
        id=new_id(),
        queue_name=queue_name,
        task_name=task_name,
        context={"text": "why? \N{SNOWMAN}"},
        priority=1,
        message="Waiting.",
        idempotency_key=idempotency_key,
        lock_key=lock_key,
        delay=delay,
    )


def starts(tokens: Mapping[UUID, int], worker: str = "", lock_key: str | None = None) -> list[Start]:
    """Starts of activities under their tokens."""
    return [Start(task, token, "Started.", worker, lock_key) for task, token in tokens.items()]


def row_of(source: Engine | Connection, task: UUID) -> Row:
    """The row and log of one activity."""
    return rows_of(source, [task])[task]


def rows_of(source: Engine | Connection, tasks: Sequence[UUID]) -> dict[UUID, Row]:
    """The row and log of each of these activities."""
    if isinstance(source, Engine):
        with source.connect() as connection:
            return rows_of(connection, tasks)
    logs: dict[UUID, list[Entry]] = {}
    keys = (ActivityLog.activity_id, ActivityLog.fence, ActivityLog.n)
    columns = (*keys, ActivityLog.status, ActivityLog.message, ActivityLog.percentage)
    query = select(*columns).where(ActivityLog.activity_id.in_(tasks)).order_by(*keys)
    for e in source.execute(query):
        entry = Entry(fence=e.fence, n=e.n, status=str(e.status), message=e.message, percentage=e.percentage)
        logs.setdefault(e.activity_id, []).append(entry)
    found = source.execute(select(Activity.__table__).where(Activity.id.in_(tasks))).mappings()
    return {
        row["id"]: Row(
            status=str(row["status"]),
            fence=row["fence"],
            attempt=row["attempt"],
            result=row["result"],
            error=row["error"],
            cancel_requested=row["cancel_requested_at"] is not None,
            dispatched=row["dispatched_at"] is not None,
            log=tuple(logs.get(row["id"], ())),
        )
        for row in found
    }


def require_sound(row: Row) -> None:
    """Every move in the log is legal, its numbers have no gap, and row and log agree; AssertionError where not.

    Progress repeats the status RUNNING under one fence and is no move.
    """
    assert row.log, "an activity without a log"
    first, last = row.log[0], row.log[-1]
    assert (first.fence, first.n, first.status) == (0, 0, "queued"), f"a log that begins elsewhere: {row.log}"
    for before, after in zip(row.log, row.log[1:], strict=False):
        if after.fence == before.fence:
            assert after.n == before.n + 1, f"a gap in the log: {row.log}"
        else:
            assert after.n == 0, f"a log that does not begin with 0: {row.log}"
        if (before.status, after.status) == ("queued", "queued"):
            raise AssertionError(f"queued twice: {row.log}")
        assert (before.status, after.status) in LEGAL_MOVES, f"an illegal move: {row.log}"
    assert last.status == row.status, f"the row says {row.status}, its log {last}"
    assert row.fence >= last.fence, f"the row's fence is below its log's: {row}"
