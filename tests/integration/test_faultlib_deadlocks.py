"""A storm of deadlocks in a real Postgres: who is ended, that it ends, that it is no deadlock of the target's own."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from harness.environments.deadlocks import DeadlockWatch
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import GateError
from harness.faults import deadlock_storm
from harness.faults.deadlock_storm import DeadlockStorm
from tests.conftest import Eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedEnvironment]:
    """Servers of this module, because the storm looks for the table that is updated most."""
    with EmbeddedEnvironment() as environment:
        yield environment


def test_a_storm_without_a_table_that_changes_is_no_fault(
    own_servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlock_storm, "_REPORTED_SECONDS", 0.0)
    with pytest.raises(GateError, match="no row of a table with a primary key was changed"):
        with DeadlockStorm().held(own_servers.endpoints):
            pytest.fail("there is no table")


def test_a_statement_with_rows_in_the_other_order_is_ended(
    own_servers: EmbeddedEnvironment, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, watch = own_servers.endpoints.database_url, DeadlockWatch(own_servers)
    with psycopg.connect(url, autocommit=True) as client:
        client.execute("CREATE TABLE shelves (n int, section text, t int, PRIMARY KEY (section, n))")
        client.execute("INSERT INTO shelves SELECT n, 'a', 0 FROM generate_series(1, 20) AS n")
        client.execute("UPDATE shelves SET t = 1")
        client.execute("ALTER SYSTEM SET deadlock_timeout = '2s'")

        def change() -> None:
            with client.transaction():
                for n in (1, 20):
                    client.execute("UPDATE shelves SET t = t + 1 WHERE section = 'a' AND n = %s", [n])

        def is_ended() -> bool:
            try:
                change()
            except errors.DeadlockDetected:
                return True
            return False

        # The server learns of the changes a moment later.
        monkeypatch.setattr(deadlock_storm, "_REPORTED_SECONDS", 30.0)
        with DeadlockStorm().held(own_servers.endpoints):
            for _ in range(2):
                eventually(is_ended, deadline=30.0)
        change()
        client.execute(
            "SELECT pg_stat_force_next_flush()"
        )  # the next storm does not count what this one ended
        eventually(lambda: client.execute("SHOW deadlock_timeout").fetchone() == ("2s",))
        monkeypatch.setattr(
            deadlock_storm, "_REPORTED_SECONDS", 0.0
        )  # there is no client to hit, and it has the table
        with pytest.raises(GateError, match="waited for a row while it held an earlier one"):
            with DeadlockStorm().held(own_servers.endpoints):
                pass
    assert "deadlock detected" in own_servers.logs("postgres")
    assert watch.found().count == 0, "those of the storm are not the target's"
