"""Backups of Postgres under load: restored into a database of their own, or set back in place of the record.

`pg_dump` and `psql` are those of the wheel of the embedded backend, or installed ones; they also work against
the servers of other backends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from harness.environments.base import Endpoints, Environment, Service
from harness.environments.local_postgres import client_program, run_program
from harness.environments.urls import plain_url
from harness.errors import UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.chores import duty
from harness.faults.postgres_states import postgres_of, tables_locked
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.names import COPIED, COPY
from harness.history.promises import Loss

_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BackUp:
    """Back the database up, restore the backup into a database of its own, and record the evidence in there."""

    at: float
    gated: bool = False
    name: str = "back-up"
    kind: InjectionKind = InjectionKind.OTHER
    service: Service = "postgres"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0])

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Take the backup and read it; raises `GateError` if the session has no `stored`."""
        with _recorded_copy(context, planned, aim):
            return

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the servers did not change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreBackup:
    """Back the database up, and set every table back to the backup `seconds` later, while pools and Redis go on."""

    at: float
    seconds: float = 1.0
    gated: bool = False
    name: str = "restore-backup"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.DATABASE_RESTORED
    service: Service = "postgres"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0], value={"seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Take the backup, wait, and replace the rows of all tables in one transaction; raises as `BackUp`."""
        with _recorded_copy(context, planned, aim) as copy:
            time.sleep(self.seconds)
            with postgres_of(_servers(context).endpoints) as record, postgres_of(copy) as source:
                _set_back(record, source)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: what was recorded after the backup is gone."""


def _servers(context: FaultContext) -> Environment:
    if context.environment is None or not context.environment.endpoints.database_url:
        raise UsageError(
            "This fault backs Postgres up, which this run does not have. Run it on a backend with one."
        )
    return context.environment


@contextmanager
def _recorded_copy(context: FaultContext, planned: PlannedFault, aim: Aim) -> Iterator[Endpoints]:
    """A backup in a database of its own; what it holds is recorded, each operation with the number of the fault.

    The operation of the heal says how many there were.
    """
    stored = duty(
        context, "stored", "returns the operations of a copy of its store, by the URL of a database"
    )
    environment, witness = _servers(context), context.witness
    assert witness is not None, "the run has a session"
    backup = _backed_up(environment, planned)
    with _restored(environment, backup, planned) as copy:
        aim.found[COPIED] = 0
        for operation in stored(copy.database_url):
            value = {"of": operation.f, "fault": planned.number, **operation.value}
            witness.append(replace(operation, f=COPY, value=value))
            aim.found[COPIED] += 1
        yield copy


def _backed_up(environment: Environment, planned: PlannedFault) -> Path:
    """The file of a backup in the folder of the run."""
    file = environment.folder / f"backup-{planned.number}.sql"
    _run("pg_dump", environment, environment.endpoints, f"--file={file}")
    # An older server does not know the setting, which a newer pg_dump writes into the head of each file.
    file.write_bytes(file.read_bytes().replace(b"\nSET transaction_timeout = 0;", b"", 1))
    return file


@contextmanager
def _restored(environment: Environment, backup: Path, planned: PlannedFault) -> Iterator[Endpoints]:
    """The backup in a database of its own, which is dropped at the end. The file is gone then."""
    endpoints = environment.endpoints
    name = f"harness_backup_{planned.number}"
    database = sql.Identifier(name)
    with postgres_of(endpoints) as postgres:
        postgres.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
        try:
            parts = urlsplit(endpoints.database_url)
            copy = endpoints.replace({"postgres": urlunsplit(parts._replace(path=f"/{name}"))})
            _run(
                "psql",
                environment,
                copy,
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                f"--file={backup}",
            )
            yield copy
        finally:
            backup.unlink(missing_ok=True)
            postgres.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))


def _set_back(
    record: psycopg.Connection[tuple[Any, ...]], source: psycopg.Connection[tuple[Any, ...]]
) -> None:
    with tables_locked(record) as tables:
        # Rows refer to one another across tables, and come back together.
        record.execute("SET LOCAL session_replication_role = replica")
        record.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
        for table in tables:
            reading = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(table)
            writing = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)
            with closing(source.cursor()) as out, closing(record.cursor()) as into:
                with out.copy(reading) as rows, into.copy(writing) as sink:
                    for block in rows:
                        sink.write(block)


def _run(program: str, environment: Environment, endpoints: Endpoints, *arguments: str) -> None:
    """Run a client program of Postgres against a database; its password is in no command line."""
    given = conninfo_to_dict(plain_url(endpoints.database_url))
    login = {
        variable: str(given[name]) for name, variable in _VARIABLES.items() if given.get(name) is not None
    }
    run_program(
        client_program(program),
        "--no-password",
        *arguments,
        environment={**os.environ, **login},
        folder=environment.folder,
        remedy="See the log of Postgres.",
    )
