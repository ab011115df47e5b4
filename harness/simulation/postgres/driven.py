"""The Postgres of one command, started by it or named by its URL, and of the jobs that the command starts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import psycopg

from harness.environments.local_postgres import LocalPostgres
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable, first_line
from harness.simulation.jobs import launched_by
from harness.simulation.postgres.database import database, drop_schema
from harness.simulation.postgres.server import DrivenPostgres
from harness.simulation.stores import use_store

# For the jobs of a command: the first letters of the names of its schemas, and the URL.
VARIABLE = "HARNESS_SIMULATION_POSTGRES"
_PATIENCE_SECONDS = 10
OWN = ""
"""Stands for the URL of a Postgres that the command starts itself."""


class _QuickPostgres(LocalPostgres):
    """A Postgres whose data need not survive, and which does nothing at times that no seed decides."""

    settings: Mapping[str, str] = {
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "autovacuum": "off",
        "checkpoint_timeout": "1h",
        "shared_buffers": "64MB",
        "log_min_messages": "fatal",
    }


@contextmanager
def private_postgres() -> Iterator[str]:
    """The URL of a Postgres in a temporary folder, for a `with` block; raises `EnvironmentUnavailable`."""
    session = Session.open()
    server = _QuickPostgres(session)
    try:
        server.begin()
        server.finish()
        session.require_reaper()
        yield server.url
    finally:
        session.close()
        server.forget()


@contextmanager
def on_postgres(url: str) -> Iterator[None]:
    """Let the simulations of a `with` block, and those of its jobs, use the Postgres at a URL, or a private one."""
    with ExitStack() as stack:
        url = url or stack.enter_context(private_postgres())
        _require_answer(url)
        prefix = f"simulation_{secrets.token_hex(4)}"
        stack.callback(_drop_schemas, url, prefix)
        stack.callback(os.environ.update, {VARIABLE: os.environ.get(VARIABLE, "")})
        os.environ[VARIABLE] = f"{prefix} {url}"
        with of_this_job(), launched_by(f"{__package__}.job"):
            yield


@contextmanager
def of_this_job() -> Iterator[None]:
    """In a `with` block, simulate on the Postgres of the command that started this process, if it has one."""
    prefix, _, url = os.environ.get(VARIABLE, "").partition(" ")
    if not url:
        yield
        return
    with database(url, f"{prefix}_{os.getpid()}") as own, use_store(partial(DrivenPostgres, own)):
        yield


def _require_answer(url: str) -> None:
    try:
        psycopg.connect(url, connect_timeout=_PATIENCE_SECONDS).close()
    except psycopg.Error as error:
        raise EnvironmentUnavailable(
            f"The Postgres of the simulation cannot be used: {first_line(error)}. Start it, or give another URL."
        ) from None


def _drop_schemas(url: str, prefix: str) -> None:
    """Drop the schemas of jobs that were ended early."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"
        for (schema,) in connection.execute(query, [prefix]).fetchall():
            drop_schema(connection, schema)
