"""The check that restores a backup: the only one that writes, and only into the scratch database that was given for it.

Without `--restore-check FILE --scratch-url URL` it does nothing.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from psycopg.rows import namedtuple_row

from agentexec.config import normalised_database_url
from agentexec.errors import ConfigurationError
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from agentexec.store.models import OWN_TABLES
from harness.doctor.area import Area
from harness.doctor.check import Box, CheckFinding, check, failed, passed, warned
from harness.doctor.installation import Installation
from harness.doctor.postgres_reader import CONNECT_SECONDS, conninfo
from harness.doctor.unanswered import CannotTell
from harness.environments.local_postgres import client_program
from harness.errors import EnvironmentUnavailable, first_line

_restores = partial(check, area=Area.FILES)
SECONDS = 3600.0  # of one restore
CUSTOM = b"PGDMP"
GZIPPED = b"\x1f\x8b"
# What would lead psql to another database, a file or a program. No line of the data of a dump begins like this.
_LEAVES = re.compile(
    rb"\\(?:c|connect|!|i|ir|include|include_relative|o|out|w|write|copy|g|gx|setenv|cd)\b|\\!"
)


@_restores(
    "files.backup-restored",
    box=Box.BACKUPS,
    asks="Can the backup --restore-check FILE be restored into the empty database --scratch-url, with every task?",
    why="A backup that was never restored may be cut short, of the wrong database, or without the rights to read it.",
    remedy="Take the backup again with pg_dump, and restore it into an empty database of that version or a newer one.",
    scenario="backup-and-restore-under-load",
)
def backup_restored(site: Installation) -> CheckFinding:
    """Tables, columns, and a log entry for each activity; the only check that writes, and only into that database."""
    file, url = site.options.restore_check, site.options.scratch_url
    if file is None or url is None:
        raise CannotTell("no backup is restored; --restore-check FILE --scratch-url URL restore one")
    try:
        target = conninfo(normalised_database_url(url))
        if not conninfo_to_dict(target).get("dbname"):
            return failed(
                "--scratch-url names no database, so nothing was written", "Name an empty database."
            )
        if not _is_empty(target):
            return failed(
                "the scratch database has tables, so nothing was written", "Give an empty database."
            )
        start = time.monotonic()
        errors = _restored(file, target)
        return _found(target, errors, time.monotonic() - start)
    except (OSError, ConfigurationError, EnvironmentUnavailable, psycopg.Error) as error:
        return failed(first_line(error))
    except subprocess.TimeoutExpired:
        return failed(f"it was not restored within {SECONDS:,.0f} s")


def _is_empty(url: str) -> bool:
    [row] = _rows(
        url,
        "SELECT count(*) AS tables FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
    )
    return bool(row.tables == 0)


def _restored(file: Path, url: str) -> list[str]:
    """Run psql or pg_restore on the file; returns the errors that it reports."""
    with file.open("rb") as first:
        head = first.read(len(CUSTOM))
    if head == CUSTOM:
        command = ["pg_restore", "--no-owner", "--no-privileges", "--dbname", "", str(file)]
        return _run(command, url, None)
    with tempfile.TemporaryFile() as script:
        with gzip.open(file) if head.startswith(GZIPPED) else file.open("rb") as text:
            try:
                for line in text:
                    if _LEAVES.match(line):
                        raise OSError(
                            "the dump leads psql elsewhere, so nothing was written; dump without --create"
                        )
                    script.write(line)
            except (EOFError, zlib.error):
                raise OSError("the file is damaged or cut short") from None
        script.seek(0)
        return _run(["psql", "--no-psqlrc", "--quiet", "--output", os.devnull], url, script)


def _run(command: list[str], url: str, script: IO[bytes] | None) -> list[str]:
    given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    # No password is in the arguments of a process.
    known = {one.keyword.decode(): one.envvar for one in Conninfo.get_defaults()}
    variables = {name.decode(): given[word] for word, name in known.items() if name and word in given}
    program = client_program(command[0])
    arguments = [given["dbname"] if word == "" else word for word in command[1:]]
    done = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL if script is None else script,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},  # libpq finds the same server with both as psycopg did with the URL
        timeout=SECONDS,
        check=False,
    )
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return [line for line in lines if "error" in line.lower()] or lines[: bool(done.returncode)]


def _found(url: str, errors: list[str], seconds: float) -> CheckFinding:
    problems = [problem for table in OWN_TABLES for problem in _missing(url, table.name, set(table.c.keys()))]
    if problems:
        return failed(f"{'; '.join(problems)}{_first(errors)}")
    [row] = _rows(
        url,
        f"""SELECT count(*) AS tasks, count(*) FILTER (WHERE NOT EXISTS (
                SELECT FROM {LOG_TABLE} AS l WHERE l.activity_id = a.id)) AS bare,
            coalesce(extract(epoch FROM now() - max(updated_at)) / 3600, 0)::float8 AS hours
        FROM {ACTIVITY_TABLE} AS a""",
    )
    seen = f"{row.tasks:,} activities in {seconds:.1f} s, the newest {row.hours:,.1f} hours old"
    if row.bare or not row.tasks:
        return failed(f"{seen}; {row.bare:,} of them without a log entry{_first(errors)}")
    return warned(f"{seen}{_first(errors)}") if errors else passed(seen)


def _missing(url: str, table: str, columns: set[str]) -> Iterator[str]:
    rows = _rows(
        url,
        "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%(name)s) AND attnum > 0",
        name=table,
    )
    if lacking := columns - {row.attname for row in rows}:
        yield f"{table} lacks {', '.join(sorted(lacking))}" if rows else f"there is no {table}"


def _first(errors: list[str]) -> str:
    return f"; {len(errors)} errors, the first: {errors[0]}" if errors else ""


def _rows(url: str, query: str, **values: object) -> list[Any]:
    """The rows of a query; a restored database may be large, so it has no limit of time."""
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS, row_factory=namedtuple_row) as scratch:
        return scratch.execute(query.encode(), values).fetchall()
