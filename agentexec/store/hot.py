"""The things that happen all the time, on Postgres in one statement each: to enqueue, to say that it was dispatched,
and a worker's turn.

The functions of `store` say the same in several statements, and say it on SQLite too; a test holds the two
to each other. One statement is one transaction by itself: it needs neither BEGIN nor COMMIT, and so takes
one round trip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from agentexec.store import statements
from agentexec.store.batch import as_json, as_text, as_uuid, recordset
from agentexec.store.models import ACTIVITY_TABLE, LOG_TABLE
from agentexec.store.rows import ActivityUpdate, NewActivity, Started
from agentexec.store.status import Status

_NEW = recordset("new", statements.NEW_COLUMNS, "v")

_ENQUEUE = text(
    f"""WITH new AS MATERIALIZED (SELECT * FROM {_NEW}), recorded AS (
        INSERT INTO {ACTIVITY_TABLE} (id, agent_id, queue_name, agent_type, status, fence, attempt, failures,
            priority, context, metadata, idempotency_key, lock_key, created_at, updated_at, run_after)
        SELECT id, id, queue_name, agent_type, 'queued', 0, 0, 0, priority, context, metadata, idempotency_key,
            lock_key, clock_timestamp(), clock_timestamp(),
            CASE WHEN delay > 0 THEN clock_timestamp() + delay * interval '1 second' END
        FROM new ON CONFLICT DO NOTHING RETURNING id
    ), logged AS (
        INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
        SELECT new.id, {statements.ENQUEUE_FENCE}, 0, 'queued', new.message, 0, clock_timestamp()
        FROM new JOIN recorded ON recorded.id = new.id
    )
    SELECT id FROM recorded"""
)

_STARTS = recordset("starts", {"id": "uuid", "token": "bigint", "lock_key": "text"}, "v")
_ENDS = recordset("ends", statements.OUTCOME_COLUMNS, "v")

# A task is never started and ended in the same turn, so the two updates touch different rows. The ids are given once
# more as arrays, since that makes the planner use the index whatever it knows of the table: on a new table without
# statistics it preferred to read all of it, and a turn took seven times as long until autoanalyze came by.
_TURN = text(
    f"""WITH started AS (
        UPDATE {ACTIVITY_TABLE} AS a SET status = 'running', fence = v.token, holder = :worker,
            updated_at = clock_timestamp(), lock_key = coalesce(a.lock_key, v.lock_key),
            attempt = attempt + CASE WHEN a.fence < v.token THEN 1 ELSE 0 END
        FROM {_STARTS}
        WHERE a.id = ANY(CAST(:started_ids AS uuid[])) AND a.id = v.id AND cancel_requested_at IS NULL
          AND (fence < v.token OR status = 'running' AND fence = v.token AND holder = :worker)
          AND status IN ('queued', 'running') AND {statements.NOBODY_HAS_THE_LOCK}
        RETURNING a.id, a.attempt, a.failures, v.token
    ), ended AS (
        UPDATE {ACTIVITY_TABLE} AS a SET updated_at = clock_timestamp(), result = v.result, error = v.error,
            failures = failures + v.failed, status = CASE WHEN v.status = 'queued' AND a.cancel_requested_at IS NOT NULL
                THEN 'canceled' ELSE v.status END
        FROM {_ENDS}
        WHERE a.id = ANY(CAST(:ended_ids AS uuid[])) AND a.id = v.id AND a.fence = v.token AND a.status = 'running'
        RETURNING a.id, a.status, v.token, v.n, v.message, v.percentage
    ), logged AS (
        INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
        SELECT id, token, 0, 'running', :message, 0, clock_timestamp() FROM started
        UNION ALL SELECT id, token, n, status, message, percentage, clock_timestamp() FROM ended
        ON CONFLICT DO NOTHING
    )
    SELECT id, attempt, failures, NULL AS status FROM started
    UNION ALL SELECT id, NULL, NULL, status FROM ended"""
)

# Losing it costs one more offer by the relay, so nobody waits until it is on disk; the setting ends with the statement.
_MARK = text(
    f"""WITH unhurried AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
    UPDATE {ACTIVITY_TABLE} SET dispatched_at = clock_timestamp() FROM unhurried
    WHERE id = ANY(CAST(:ids AS uuid[])) AND dispatched_at IS NULL"""
)


def enqueue(connection: Connection, activities: Sequence[NewActivity]) -> dict[UUID, UUID]:
    """Record activities as QUEUED; see `statements.insert` for the answer."""
    if connection.dialect.name != "postgresql":
        return statements.insert(connection, activities)
    rows = connection.execute(_ENQUEUE, {"new": as_json(statements.new_rows(activities))})
    fresh = {as_uuid(row.id) for row in rows}
    missing = [activity for activity in activities if activity.id not in fresh]
    recorded = {i: i for i in fresh}
    return recorded | (statements.recorded_before(connection, missing) if missing else {})


def mark_dispatched(connection: Connection, ids: Sequence[UUID]) -> None:
    """Say that the queue has these activities, as a note that may get lost; see `statements.mark_dispatched`."""
    if connection.dialect.name != "postgresql":
        statements.mark_dispatched(connection, ids)
        return
    connection.execute(_MARK, {"ids": sorted(ids)})


def turn(
    connection: Connection,
    tokens: Mapping[UUID, int],
    outcomes: Sequence[ActivityUpdate],
    message: str,
    worker: str = "",
    lock_keys: Mapping[UUID, str] = statements.NO_LOCK_KEYS,
) -> tuple[dict[UUID, Started], dict[UUID, Status]]:
    """Start activities under their tokens and end others; see `statements.start` and `statements.finish` for what is
    refused.

    Returns the started ones and the status of each accepted outcome.
    """
    if connection.dialect.name != "postgresql":
        return statements.start(connection, tokens, message, worker, lock_keys), statements.finish(
            connection, outcomes
        )
    starts = [
        {"id": as_text(task_id), "token": token, "lock_key": lock_keys.get(task_id)}
        for task_id, token in tokens.items()
    ]
    parameters = {
        "starts": as_json(starts),
        "ends": as_json(statements.outcome_rows(outcomes)),
        "message": message,
        "worker": worker,
        "started_ids": list(tokens),
        "ended_ids": [outcome.id for outcome in outcomes],
    }
    rows = connection.execute(_TURN, parameters).all()
    attempts = {
        as_uuid(row.id): Started(int(row.attempt), int(row.failures)) for row in rows if row.status is None
    }
    accepted = {as_uuid(row.id): Status(row.status) for row in rows if row.status is not None}
    missing = [outcome for outcome in outcomes if outcome.id not in accepted]
    return attempts, accepted | (statements.written_before(connection, missing) if missing else {})
