"""The Postgres schema of one run, for an application whose tasks are in Postgres."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from harness.environments.urls import plain_url
from harness.errors import TargetFailed, describe_error
from harness.history.promises import Loss

NOT_IN_REDIS = frozenset({Loss.BROKER_RESTARTED, Loss.BROKER_EMPTIED, Loss.BROKER_FROZEN})
"""The losses that take nothing from a system whose tasks are in Postgres."""

# Postgres shortens longer names.
_LONGEST_NAME = 63
_TIMEOUT_SECONDS = 10


def schema_of(queue: str) -> str:
    """The name of the schema for a run's queue: a plain identifier in lower case."""
    plain = re.sub(r"[^a-z0-9]", "_", queue.lower())
    return f"h{plain[-_LONGEST_NAME + 1 :]}"


def search_path(schema: str) -> str:
    """The option of libpq that lets unqualified names lead to the schema, and to those of the application itself."""
    return f"-c search_path={schema},public"


@contextmanager
def schema_on(database_url: str, schema: str) -> Iterator[str]:
    """Create the schema, and drop it with all in it at the end; gives the URL as libpq reads it.

    Raises `TargetFailed` if Postgres does not answer, or already has the schema.
    """
    import psycopg  # here, since not every environment with the harness has it

    url = plain_url(database_url)

    def execute(statement: str) -> None:
        with psycopg.connect(url, autocommit=True, connect_timeout=_TIMEOUT_SECONDS) as connection:
            connection.execute(statement.encode())

    try:
        execute(f'CREATE SCHEMA "{schema}"')
    except psycopg.Error as error:
        raise TargetFailed(
            f"The schema {schema} cannot be created: {describe_error(error)}. See the log of Postgres."
        ) from None
    try:
        yield url
    finally:
        execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


@contextmanager
def making_tables(system: str) -> Iterator[None]:
    """Raise `TargetFailed`, one sentence, for any error while the tables of a system are made in its schema."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - systems raise errors of their own and of their drivers
        raise TargetFailed(
            f"The tables of {system} cannot be made: {describe_error(error)}. See the log of Postgres."
        ) from None
