"""A real deadlock: two sessions of Postgres that lock two keys in opposite order."""

from __future__ import annotations

import threading

import psycopg

from harness.environments.urls import plain_url


def make_deadlock(database_url: str) -> None:
    """Let Postgres end one of two transactions; returns when both sessions have ended."""
    together = threading.Barrier(2, timeout=20)
    errors: list[str] = []

    def lock(first: int, second: int) -> None:
        options = "-c deadlock_timeout=10ms"
        with psycopg.connect(plain_url(database_url), options=options) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [first])
            together.wait()
            try:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [second])
            except psycopg.errors.DeadlockDetected as error:
                errors.append(str(error))
                connection.rollback()

    threads = [threading.Thread(target=lock, args=order) for order in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 1
