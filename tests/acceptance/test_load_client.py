"""Under Locust's gevent, a commit that hangs blocks only the users of its own producer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environments import make_environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
# Locust first, as its own command does: it patches the standard library before psycopg is imported.
PROGRAM = "import locust; from tests.acceptance.test_load_client import measure; measure()"


def measure() -> None:
    """Hold one producer's commit back with a lock, let another work, and print the result. Runs under gevent."""
    import threading
    import time
    from itertools import pairwise

    import psycopg.waiting
    from sqlalchemy import text

    import agentexec as ax
    from agentexec.core.db import create_schema
    from loadtests.work import TASK_NAME, Work

    ticks: list[float] = []
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(0.005):
            ticks.append(time.monotonic())

    held, free = ax.Client(queue_name="load"), ax.Client(queue_name="load")
    create_schema(free.engine)
    free.enqueue_sync(TASK_NAME, Work(seconds=0))
    # An uncommitted row with the same idempotency key: the commit of the next enqueue with it has to wait.
    with free.engine.connect() as blocker:
        recorded = held.enqueue_sync(TASK_NAME, Work(seconds=0), idempotency_key="first")
        blocker.execute(
            text("UPDATE agentexec_activity SET idempotency_key = 'held' WHERE id = :id"),
            {"id": recorded.agent_id},
        )
        waiting = threading.Thread(
            target=held.enqueue_sync, args=(TASK_NAME, Work(seconds=0)), kwargs={"idempotency_key": "held"}
        )
        waiting.start()
        threading.Thread(target=tick, daemon=True).start()
        latencies: list[float] = []
        while len(latencies) < 100:
            began = time.monotonic()
            free.enqueue_sync(TASK_NAME, Work(seconds=0))
            latencies.append(time.monotonic() - began)
        still_held = waiting.is_alive()
        ended.set()
        blocker.rollback()
    waiting.join(10)
    print(
        json.dumps(
            {
                "cooperative": psycopg.waiting.wait is not psycopg.waiting.wait_c,
                "still_held": still_held,
                "released": not waiting.is_alive(),
                "slowest": max(latencies),
                "longest_stop": max(after - before for before, after in pairwise(ticks)),
            }
        )
    )
    held.close()
    free.close()


def test_a_commit_that_hangs_stops_no_other_producer() -> None:
    with make_environment("embedded") as environment:
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": environment.endpoints.database_url,
            "REDIS_URL": environment.endpoints.redis_url,
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=environment.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cooperative"]
    assert found["still_held"]
    assert found["released"]
    # Waiting for the held commit would take for ever; the bounds leave room for a machine that stalls.
    assert found["slowest"] < 5
    assert found["longest_stop"] < 2
