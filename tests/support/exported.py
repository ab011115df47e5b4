"""The tables of an activity store as files, by the statements of docs/production/observe.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.support.environment import ROOT

PAGE = ROOT / "docs" / "production" / "observe.md"
COPY = re.compile(r"^\\copy (\(.*\)) TO (\S+) CSV HEADER$", re.MULTILINE)


def exported(database_url: str, queue: str, folder: Path) -> list[Path]:
    """The files of the activities of a queue and of their log, as `harness check --export` reads them."""
    with psycopg.connect(database_url) as connection:
        return list(_files(connection, queue, folder))


def _files(connection: psycopg.Connection, queue: str, folder: Path) -> Iterator[Path]:
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    for query, name in COPY.findall(PAGE.read_text("utf-8")):
        own = query.replace("queue_name <> ''", f"queue_name = '{queue}'")
        with connection.cursor().copy(f"COPY {own} TO STDOUT CSV HEADER".encode()) as rows:
            (folder / name).write_bytes(b"".join(map(bytes, rows)))
        yield folder / name
