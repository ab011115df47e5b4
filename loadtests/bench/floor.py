"""The floor of the benchmarks: the least work that keeps agentexec's promise, without agentexec and its statements.

One row of one table in Postgres is a task and its record: it is durable before the call returns; a claim is recorded
with a lease and a fencing token before the handler begins; the end is recorded if the token is still valid. The end of
a batch and the claim of the next one are one statement.

`python -m loadtests.bench.floor BATCH` drains the table of `$DATABASE_URL` and prints `TASKS BEGAN ENDED`: times in
nanoseconds of the monotonic clock. `BEGAN` is when the first batch was claimed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import psycopg

LEASE_SECONDS = 30.0

Claimed = tuple[int, int, bytes]
"""The id, the fencing token and the context of a task."""

_TABLE = """
    CREATE TABLE floor (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        context bytea NOT NULL,
        queued timestamptz NOT NULL DEFAULT now(),
        started timestamptz,
        ended timestamptz,
        lease timestamptz,
        token integer NOT NULL DEFAULT 0
    );
    CREATE INDEX floor_waiting ON floor (id) WHERE started IS NULL;
    CREATE INDEX floor_leased ON floor (lease) WHERE lease IS NOT NULL
"""
_ENQUEUE = "INSERT INTO floor (context) SELECT * FROM unnest(%s::bytea[]) RETURNING id"
_STEP = """
    WITH ended AS (
        UPDATE floor SET ended = now(), lease = NULL
        FROM unnest(%(ids)s::bigint[], %(tokens)s::integer[]) AS finished (id, token)
        WHERE floor.id = finished.id AND floor.token = finished.token AND ended IS NULL
    ), claimed AS (
        SELECT id FROM floor WHERE started IS NULL ORDER BY id LIMIT %(want)s FOR UPDATE SKIP LOCKED
    )
    UPDATE floor SET started = now(), lease = now() + %(lease)s * interval '1 second', token = token + 1
    FROM claimed WHERE floor.id = claimed.id RETURNING floor.id, floor.token, floor.context
"""


def connect(database_url: str) -> psycopg.Connection[Any]:
    """A connection that commits each statement and prepares it."""
    return psycopg.connect(database_url, autocommit=True, prepare_threshold=0)


def create(connection: psycopg.Connection[Any]) -> None:
    """Create an empty table in the place of another one."""
    connection.execute("DROP TABLE IF EXISTS floor")
    connection.execute(_TABLE, prepare=False)


def enqueue(connection: psycopg.Connection[Any], contexts: Sequence[bytes]) -> list[int]:
    """Enqueue tasks in one statement; returns their ids once they are durable."""
    return [row[0] for row in connection.execute(_ENQUEUE, [list(contexts)], binary=True)]


def step(connection: psycopg.Connection[Any], finished: Sequence[Claimed], want: int) -> list[Claimed]:
    """Record the ends of tasks whose tokens are still valid, and claim up to `want` others."""
    values = {
        "ids": [task[0] for task in finished],
        "tokens": [task[1] for task in finished],
        "want": want,
        "lease": LEASE_SECONDS,
    }
    return connection.execute(_STEP, values, binary=True).fetchall()


def drain(connection: psycopg.Connection[Any], batch: int) -> tuple[int, int, int]:
    """Claim and end tasks until none waits; returns how many, and when the first claim and the last end were done."""
    count = began = 0
    claimed: list[Claimed] = []
    while True:
        count += len(claimed)
        claimed = step(connection, claimed, batch)
        if not claimed:
            return count, began, time.monotonic_ns()
        began = began or time.monotonic_ns()


if __name__ == "__main__":
    with connect(os.environ["DATABASE_URL"]) as drained:
        print(*drain(drained, int(sys.argv[1])))
