"""A worker's turn on Postgres in one statement: starts, ends and their log entries, in one round trip.

`store.start` and `store.finish` say the same in five statements and say it on SQLite too; a test holds the two to each
other. One statement is one transaction by itself, so a turn needs neither BEGIN nor COMMIT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from agentexec.activity import store
from agentexec.activity.batch import as_json, as_text, as_uuid, recordset
from agentexec.activity.models import ACTIVITY_TABLE, LOG_TABLE
from agentexec.activity.rows import Outcome
from agentexec.activity.status import Status

_STARTS = recordset("starts", {"id": "uuid", "token": "bigint"}, "v")
_ENDS = recordset("ends", store.OUTCOME_COLUMNS, "v")

# A task is never started and ended in the same turn, so the two updates touch different rows.
_TURN = text(
    f"""WITH started AS (
        UPDATE {ACTIVITY_TABLE} AS a SET status = 'running', fence = v.token, updated_at = clock_timestamp(),
            attempt = attempt + CASE WHEN a.fence < v.token THEN 1 ELSE 0 END
        FROM {_STARTS}
        WHERE a.id = v.id AND cancel_requested_at IS NULL
          AND (status = 'queued' AND fence < v.token OR status = 'running' AND fence <= v.token)
        RETURNING a.id, a.attempt, v.token
    ), ended AS (
        UPDATE {ACTIVITY_TABLE} AS a SET updated_at = clock_timestamp(), result = v.result, error = v.error,
            status = CASE WHEN v.status = 'queued' AND a.cancel_requested_at IS NOT NULL
                THEN 'canceled' ELSE v.status END
        FROM {_ENDS} WHERE a.id = v.id AND a.fence = v.token AND a.status = 'running'
        RETURNING a.id, a.status, v.token, v.n, v.message, v.percentage
    ), logged AS (
        INSERT INTO {LOG_TABLE} (activity_id, fence, n, status, message, percentage, created_at)
        SELECT id, token, 0, 'running', :message, 0, clock_timestamp() FROM started
        UNION ALL SELECT id, token, n, status, message, percentage, clock_timestamp() FROM ended
        ON CONFLICT DO NOTHING
    )
    SELECT id, attempt, NULL AS status FROM started UNION ALL SELECT id, NULL, status FROM ended"""
)


def turn(
    connection: Connection, tokens: Mapping[UUID, int], outcomes: Sequence[Outcome], message: str
) -> tuple[dict[UUID, int], dict[UUID, Status]]:
    """Start activities under their tokens and end others; see `store.start` and `store.finish` for what is refused.

    Returns the attempt number of each started one and the status of each accepted outcome.
    """
    if connection.dialect.name != "postgresql":
        return store.start(connection, tokens, message), store.finish(connection, outcomes)
    starts = [{"id": as_text(task_id), "token": token} for task_id, token in tokens.items()]
    parameters = {
        "starts": as_json(starts),
        "ends": as_json(store.outcome_rows(outcomes)),
        "message": message,
    }
    rows = connection.execute(_TURN, parameters).all()
    attempts = {as_uuid(row.id): int(row.attempt) for row in rows if row.status is None}
    accepted = {as_uuid(row.id): Status(row.status) for row in rows if row.status is not None}
    missing = [outcome for outcome in outcomes if outcome.id not in accepted]
    return attempts, accepted | (store.written_before(connection, missing) if missing else {})
