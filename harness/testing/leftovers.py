"""What an application leaves on the servers of a run, so that the next run on them begins without its data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.environments.base import Endpoints
from harness.environments.redis_connection import RedisConnection, RedisFailure
from harness.environments.urls import plain_url
from harness.errors import TargetFailed, describe_error
from harness.testing.sources import TIMEOUT_SECONDS

# One DROP statement for each schema, table, view, sequence and type of the application.
_DROPS = """
SELECT format('DROP %s IF EXISTS %I.%I CASCADE', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT format('DROP TYPE IF EXISTS %I.%I CASCADE', n.nspname, t.typname)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname)
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""


class Leftovers:
    """What is on disposable servers when this is made; `remove` removes what was added since."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        with self._servers() as (connection, client):
            self._drops = {row[0] for row in connection.execute(_DROPS)}
            self._keys = set(client.keys())

    def remove(self) -> None:
        """Remove the tables, types, schemas and keys that were added; raises `TargetFailed`."""
        with self._servers() as (connection, client):
            for (drop,) in connection.execute(_DROPS).fetchall():
                if drop not in self._drops:
                    connection.execute(drop.encode())
            for key in set(client.keys()) - self._keys:
                client.call("DEL", key)

    @contextmanager
    def _servers(self) -> Iterator[tuple[Any, RedisConnection]]:
        import psycopg  # here, since not every environment with the harness has it

        database, url = plain_url(self._endpoints.database_url), self._endpoints.redis_url
        options = f"-c lock_timeout={TIMEOUT_SECONDS * 1000:.0f}"
        try:
            with (
                psycopg.connect(database, autocommit=True, options=options) as connection,
                RedisConnection(url, timeout=TIMEOUT_SECONDS) as client,
            ):
                yield connection, client
        except (psycopg.Error, RedisFailure) as error:
            raise TargetFailed(
                f"The data of the application cannot be removed: {describe_error(error)}. Run one scenario at a time."
            ) from None
