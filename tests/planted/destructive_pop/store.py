"""The tables and the Redis list of one queue of the planted target."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from harness.history import Operation, OperationType

TERMINAL = ("complete", "error")


@dataclass(frozen=True)
class Store:
    """SQL statements for the tables of one queue."""

    queue: str

    def _sql(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(
            task=sql.Identifier(f"{self.queue}_task"), log=sql.Identifier(f"{self.queue}_log")
        )

    @property
    def schema(self) -> sql.Composed:
        return self._sql(
            "CREATE TABLE {task} (id uuid PRIMARY KEY, number int, status text, fence int DEFAULT 0);"
            "CREATE TABLE {log} (id uuid, fence int, n int, status text, at timestamptz DEFAULT clock_timestamp())"
        )

    @property
    def insert(self) -> sql.Composed:
        return self._sql(
            "WITH row AS (INSERT INTO {task} VALUES (%(id)s, %(number)s, 'queued', 0) RETURNING id)"
            " INSERT INTO {log} SELECT id, 0, 0, 'queued' FROM row"
        )

    @property
    def change(self) -> sql.Composed:
        return self._sql(
            "WITH row AS (UPDATE {task} SET status = %(status)s, fence = 1 WHERE id = %(id)s RETURNING id)"
            " INSERT INTO {log} SELECT id, 1, %(n)s, %(status)s FROM row"
        )

    def unfinished(self, connection: Connection[Any]) -> int:
        query = self._sql("SELECT count(*) FROM {task} WHERE status <> ALL (%s)")
        row = connection.execute(query, [list(TERMINAL)]).fetchone()
        assert row is not None
        return int(row[0])

    def witnesses(self, connection: Connection[Any]) -> Iterator[Operation]:
        log = self._sql(
            "SELECT number, id, l.fence, n, l.status, extract(epoch FROM at)::float8 AS at"
            " FROM {log} l JOIN {task} USING (id) ORDER BY number, l.fence, n"
        )
        columns: tuple[str, ...] = ("task", "activity", "fence", "n", "status", "at")
        yield from _operations("transition", columns, connection.execute(log))
        record = self._sql("SELECT number, id, status, fence, fence FROM {task} ORDER BY number")
        columns = ("task", "activity", "status", "attempt", "fence")
        yield from _operations("record", columns, connection.execute(record))


def _operations(f: str, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[Operation]:
    for row in rows:
        value = dict(zip(names, row, strict=True)) | {"activity": str(row[1])}
        yield witness("postgres", f, value)


def witness(process: str, f: str, value: dict[str, Any]) -> Operation:
    return Operation(time=time.monotonic_ns(), process=process, type=OperationType.INFO, f=f, value=value)
