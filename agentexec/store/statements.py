"""Every statement that changes the activity store. Each is fenced, may be sent again, and takes a whole batch.

Callers own the transaction and pass a connection inside one. `record_*` functions write what happened to activities:
`record_batch` and `record_progress` for holders of leases, `record_revoked` after a holder lost its lease,
`record_terminated` under a token above the holder's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from uuid import UUID

from sqlalchemy import Connection

from agentexec.errors import IdempotencyConflict
from agentexec.store.changes import NEXT_N, ActivityChange, apply
from agentexec.store.dialects import Batch, as_uuid, is_postgres, run
from agentexec.store.reading import dead_letter_names, standings
from agentexec.store.rows import ActivityUpdate, LogEntry, NewActivity, Start, Started, Withdrawal
from agentexec.store.status import Status

ENQUEUED = ActivityChange(
    name="enqueue",
    columns=tuple(NewActivity.__annotations__),
    sql="""INSERT INTO {activity} AS a (id, agent_id, queue_name, agent_type, status, fence, attempt, failures,
            priority, context, metadata, idempotency_key, lock_key, created_at, updated_at, run_after)
        SELECT v.id, v.id, v.queue_name, v.task_name, 'queued', 0, 0, 0, v.priority, v.context, v.metadata,
            v.idempotency_key, v.lock_key, {now}, {now}, CASE WHEN v.delay > 0 THEN {later} END
        FROM {rows} AS v WHERE true ON CONFLICT DO NOTHING""",
    percentage="0",
)
# What the rows of a batch may share. JSON is not compared: 1 equals true in Python.
_SHARED = tuple(name for name in ENQUEUED.columns if name not in ("id", "context", "metadata"))
# Without a search for conflicts, which is a quarter of Postgres's work.
ENQUEUED_NEW = replace(ENQUEUED, sql=ENQUEUED.sql.removesuffix(" ON CONFLICT DO NOTHING"), answer=())
# The queue keeps tasks of one lock key apart, but it may have lost its contents. Therefore a start checks the lock key
# too. A task that is RUNNING already is not checked: two tasks that started at the same moment do not see each other,
# and must not prevent each other's restart when their workers die.
STARTED = ActivityChange(
    name="start",
    columns=Start._fields,
    sql="""UPDATE {activity} AS a SET status = 'running', fence = v.token, holder = v.worker, updated_at = {now},
            lock_key = coalesce(a.lock_key, v.lock_key),
            attempt = attempt + CASE WHEN a.fence < v.token THEN 1 ELSE 0 END
        FROM {rows} AS v WHERE {same_id} AND a.status {sources} AND a.cancel_requested_at IS NULL
        AND (a.fence < v.token OR a.status {running} AND a.fence = v.token AND a.holder = v.worker)
        AND (a.status {running} OR coalesce(a.lock_key, v.lock_key) IS NULL OR NOT EXISTS (
            SELECT 1 FROM {activity} AS o WHERE o.queue_name = a.queue_name AND o.id <> a.id
            AND o.lock_key = coalesce(a.lock_key, v.lock_key) AND o.status {running}))""",
    percentage="0",
    answer=("id", "status", "attempt", "failures"),
)
FINISHED = ActivityChange(
    name="finish",
    columns=tuple(ActivityUpdate.__annotations__),
    sql="""UPDATE {activity} AS a SET updated_at = {now}, result = v.result, error = v.error,
            failures = failures + CASE WHEN v.failed THEN 1 ELSE 0 END,
            dead_lettered_at = CASE WHEN v.status = 'error' AND a.queue_name <> '' THEN {now} END,
            status = CASE WHEN v.status = 'queued' AND a.cancel_requested_at IS NOT NULL
                THEN 'canceled' ELSE v.status END
        FROM {rows} AS v WHERE {same_id} AND a.status {sources} AND a.fence = v.token""",
    n="coalesce(v.n, {next_n})",
    percentage="v.percentage",
    answer=STARTED.answer,
)
REVOKED = ActivityChange(
    name="revoke",
    columns=("id", "token", "status", "message", "error"),
    sql="""UPDATE {activity} AS a SET updated_at = {now}, error = v.error,
            dead_lettered_at = CASE WHEN v.status = 'error' AND a.cancel_requested_at IS NULL THEN {now} END,
            status = CASE WHEN a.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE v.status END
        FROM {rows} AS v WHERE {same_id} AND a.status {sources} AND a.fence = v.token""",
    n=NEXT_N,
)
TERMINATED = ActivityChange(
    name="terminate",
    columns=REVOKED.columns,
    sql="""UPDATE {activity} AS a SET status = v.status, fence = v.token, error = v.error, updated_at = {now}
        FROM {rows} AS v WHERE {same_id} AND a.status {sources} AND a.fence < v.token""",
)
CANCEL_REQUESTED = ActivityChange(
    name="request_cancel",
    columns=("id", "message"),
    sql="""UPDATE {activity} AS a SET updated_at = {now},
            cancel_requested_at = coalesce(cancel_requested_at, {now}),
            withdraw_since = CASE WHEN queue_name <> '' THEN {now} END,
            status = CASE WHEN status {sources} THEN 'canceled' ELSE status END
        FROM {rows} AS v WHERE {same_id} AND a.status {pending}""",
    n=NEXT_N,
    logged="a.status = 'canceled'",
    answer=("id", "status"),
)
# The row is locked against a change of status while its log grows: no entry follows the end of its run.
PROGRESS = """INSERT INTO {log} (activity_id, fence, n, status, message, percentage, created_at)
    SELECT a.id, a.fence, coalesce(v.n, {next_n}), a.status, v.message, v.percentage, {now}
    FROM {rows} AS v JOIN {activity} AS a ON a.id = v.id AND a.fence = v.token AND a.status {running}
    WHERE true {share_lock} ON CONFLICT DO NOTHING"""
# A lost mark costs one more offer to the queue, so its commit does not wait for the disk, and only this commit.
# A task that was canceled meanwhile may have reached the queue after the cancel, so it is to be removed again.
DISPATCHED = """WITH setting AS MATERIALIZED (SELECT {without_fsync})
    UPDATE {activity} AS a SET dispatched_at = {now},
        withdraw_since = CASE WHEN a.status = 'canceled' THEN {now} ELSE a.withdraw_since END
    FROM setting WHERE a.id {free_ids} AND dispatched_at IS NULL"""
WITHDRAW = "UPDATE {activity} SET withdraw_since = {now} WHERE id {locked_ids} AND queue_name <> ''"
# Not a withdrawal that was requested again meanwhile.
WITHDRAWN = "UPDATE {activity} SET withdraw_since = NULL WHERE id {locked_ids} AND withdraw_since <= :until"
DEAD_LETTERED = "UPDATE {activity} SET dead_lettered_at = {now} WHERE id {locked_ids} AND status = 'error'"


def record_enqueued(
    connection: Connection, activities: Sequence[NewActivity], *, new_ids: bool = False
) -> dict[UUID, UUID]:
    """Record activities as QUEUED with their first log entry.

    Returns for each id the id under which the task is recorded: its own, or that of the earlier activity with
    the same idempotency key. Raises `IdempotencyConflict` if that is a task with another name or in another queue;
    then the caller rolls back, or enqueues the other activities again under their ids. `new_ids` promises that the
    activities were not sent before.
    """
    activities = sorted(activities, key=attrgetter("insert_order"))
    columns = {name: list(map(attrgetter(name), activities)) for name in _SHARED if len(activities) > 1}
    shared = {name: values[0] for name, values in columns.items() if values.count(values[0]) == len(values)}
    rows = _rows(tuple(name for name in ENQUEUED.columns if name not in shared), activities)
    if new_ids and is_postgres(connection) and not any(map(attrgetter("idempotency_key"), activities)):
        apply(connection, (ENQUEUED_NEW, rows), **shared)
        return {activity.id: activity.id for activity in activities}
    new = {as_uuid(row.id) for row in apply(connection, (ENQUEUED, rows), **shared)[0]}
    recorded = {i: i for i in new}
    return recorded | _recorded_before(connection, [a for a in activities if a.id not in recorded])


def record_batch(
    connection: Connection, starts: Sequence[Start], updates: Sequence[ActivityUpdate]
) -> tuple[dict[UUID, Started], dict[UUID, Status]]:
    """Start runs and end others under the fencing tokens of their workers, in one statement on Postgres.

    Returns the activities that may run, and the new status of each accepted update. A start is refused if the
    activity is terminal, has a cancel request, was started under a higher token or by another worker under the same
    token, or has a lock key that another running activity has. An update is refused if the activity does not run
    under its token. QUEUED (a retry or release) becomes CANCELED if a cancel was requested. A batch that is sent
    again gets the same answer.
    """
    new, ended = _rows(STARTED.columns, starts), _rows(FINISHED.columns, updates)
    started, finished = apply(connection, (STARTED, new), (FINISHED, ended))
    accepted = {as_uuid(row.id): Status(row.status) for row in finished}
    refused = [update for update in updates if update.id not in accepted]
    return (
        {as_uuid(row.id): Started(row.attempt, row.failures) for row in started},
        accepted | _written_before(connection, refused),
    )


def record_progress(connection: Connection, entries: Sequence[LogEntry]) -> None:
    """Write progress entries of activities that run under the entries' tokens; others are left out."""
    run(connection, PROGRESS, rows=_rows(tuple(LogEntry.__annotations__), entries))


def record_revoked(
    connection: Connection, tokens: Mapping[UUID, int], status: Status, message: str, error: str | None = None
) -> set[UUID]:
    """Record `status` (QUEUED or ERROR) for RUNNING activities whose holders lost these tokens.

    The log entry takes the next free number of the token. Returns the ids that changed; an activity that its holder
    ended first, or that runs again under another token, is left alone.
    """
    return {as_uuid(row.id) for row in apply(connection, (REVOKED, _ends(tokens, status, message, error)))[0]}


def record_terminated(
    connection: Connection, tokens: Mapping[UUID, int], status: Status, message: str, error: str | None = None
) -> set[UUID]:
    """End pending activities as CANCELED or ERROR under tokens above those of their holders.

    The token becomes the row's fence, so everything that the holder of an older token writes later is refused.
    Returns the ids that ended.
    """
    rows = _ends(tokens, status, message, error)
    return {as_uuid(row.id) for row in apply(connection, (TERMINATED, rows))[0]}


def request_cancel(connection: Connection, ids: Iterable[UUID], message: str) -> dict[UUID, Status]:
    """Cancel QUEUED activities and flag RUNNING ones; returns the new status of each pending activity.

    Terminal activities do not change and are left out.
    """
    # An id that is given twice gets one log entry.
    rows = [{"id": i.hex, "message": message} for i in dict.fromkeys(ids)]
    return {as_uuid(row.id): Status(row.status) for row in apply(connection, (CANCEL_REQUESTED, rows))[0]}


def record_dead_letters(connection: Connection, reasons: Mapping[UUID, str]) -> dict[UUID, str]:
    """End pending activities whose tasks are dead letters in the queue as ERROR.

    Returns the task names of those that ended.
    """
    ended: set[UUID] = set()
    for i, standing in sorted(standings(connection, reasons).items()):
        message = f"Dead-lettered: {reasons[i]}."
        ended |= record_terminated(connection, {i: standing.fence + 1}, Status.ERROR, message, reasons[i])
    mark_dead_letters(connection, ended)
    return dead_letter_names(connection, ended)


def mark_dead_letters(connection: Connection, ids: Collection[UUID]) -> None:
    """Note that the tasks of activities that ended as ERROR are dead letters in the queue."""
    run(connection, DEAD_LETTERED, ids=ids)


def mark_withdrawals(connection: Connection, ids: Collection[UUID]) -> None:
    """Note that the queue has to stop or remove these tasks."""
    run(connection, WITHDRAW, ids=ids)


def unmark_withdrawals(connection: Connection, withdrawn: Collection[Withdrawal]) -> None:
    """Note that the queue does not have these tasks any longer."""
    if withdrawn:
        run(connection, WITHDRAWN, ids={w.id for w in withdrawn}, until=max(w.since for w in withdrawn))


def mark_dispatched(connection: Connection, ids: Collection[UUID]) -> None:
    """Note that the queue has these activities. The note may be lost if Postgres crashes.

    What others have locked is left out: the outbox dispatcher offers it again if it is still pending then, and a cancel
    that is not committed yet removes it from the queue after this dispatch.
    """
    run(connection, DISPATCHED, ids=ids)


def _rows(
    columns: tuple[str, ...], values: Iterable[NewActivity | ActivityUpdate | LogEntry | Start]
) -> Batch:
    get = attrgetter(*columns)
    return [dict(zip(columns, get(value), strict=True), id=value.id.hex) for value in values]


def _ends(tokens: Mapping[UUID, int], status: Status, message: str, error: str | None) -> Batch:
    return [
        {"id": i.hex, "token": token, "status": status, "message": message, "error": error}
        for i, token in tokens.items()
    ]


def _written_before(connection: Connection, refused: Sequence[ActivityUpdate]) -> dict[UUID, Status]:
    """Updates that are sent again after a lost reply: the row has their token, and the status that they lead to."""
    query = """SELECT a.id, a.status FROM {rows} AS v JOIN {activity} AS a ON a.id = v.id AND a.fence = v.token
        WHERE a.status = v.status OR v.status = 'queued' AND a.status = 'canceled'"""
    found = run(connection, query, rows=_rows(("id", "token", "status"), refused))
    return {as_uuid(row.id): Status(row.status) for row in found}


def _recorded_before(connection: Connection, refused: Sequence[NewActivity]) -> dict[UUID, UUID]:
    """Activities that were recorded before: under the same id (sent again) or the same idempotency key."""
    query = """SELECT v.id, v.idempotency_key, v.task_name, v.queue_name,
            a.id AS known_id, a.agent_type AS known_name, a.queue_name AS known_queue
        FROM {rows} AS v JOIN {activity} AS a ON a.id = v.id OR a.idempotency_key = v.idempotency_key"""
    found = run(connection, query, rows=_rows(("id", "idempotency_key", "task_name", "queue_name"), refused))
    recorded = {as_uuid(row.id): as_uuid(row.known_id) for row in found}
    for row in found:
        same_task = (row.task_name, row.queue_name) == (row.known_name, row.known_queue)
        if not same_task and row.id != row.known_id:
            raise IdempotencyConflict(
                f"The idempotency key {row.idempotency_key!r} belongs to a task {row.known_name!r} of the queue "
                f"{row.known_queue!r}; give the task {row.task_name!r} of the queue {row.queue_name!r} another key."
            )
    return recorded
