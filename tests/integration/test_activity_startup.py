"""A process cleans up at its start, as in the production guide, beside a pool that runs tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Activity
from tests.conftest import Eventually
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import age, as_default, status_of
from tests.support.activity_tasks import Gate

pytestmark = pytest.mark.integration


@pytest.fixture
def client(client: ax.Client) -> Iterator[ax.Client]:
    """The client of the queue, which `agentexec.activity` uses."""
    with as_default(client):
        yield client


def start_up(client: ax.Client) -> int:
    with Session(client.engine) as session:
        return activity.cancel_pending(session)


def running(client: ax.Client) -> int:
    mine = select(func.count()).where(Activity.queue_name == client.queue.name, Activity.status == "running")
    with client.engine.connect() as connection:
        return int(connection.execute(mine).scalar_one())


def test_only_the_orphan_is_canceled_beside_a_pool_at_work(
    client: ax.Client, forks: str, tmp_path: Path, eventually: Eventually
) -> None:
    url, queue = client.settings.require_redis_url(), client.queue
    gate = Gate(key=f"gate:{queue.name}")
    tasks = [client.enqueue_sync("wait", gate).agent_id for _ in range(12)]
    variables = environment(client.settings.database_url or "", url, queue.name)
    variables |= {"AGENTEXEC_NUM_WORKERS": "1", "AGENTEXEC_WORKER_CONCURRENCY": "3"}
    with running_pool("tests.support.activity_tasks:pool", tmp_path, variables, forks):
        eventually(lambda: running(client) == 3, deadline=30)
        eventually(lambda: client.redis.hget(queue.keys.cfg, "epoch"))
        age(client.engine, timedelta(hours=9), *tasks)
        assert start_up(client) == 0  # the queue's memory is too young to be trusted
        born = int((datetime.now(UTC) - timedelta(hours=9)).timestamp() * 1000)
        client.redis.hset(queue.keys.cfg, "epoch", UUID(int=(born << 80) | (7 << 76) | (2 << 62)).hex)
        assert start_up(client) == 0  # all of them are running or queued here
        orphan = next(task for task in tasks if status_of(client.engine, task) == "queued")
        client.redis.hdel(queue.keys.job, str(orphan))
        assert start_up(client) == 1
        assert status_of(client.engine, orphan) == "canceled"
        client.redis.rpush(gate.key, *(["open"] * len(tasks)))
        assert wait_until_over(client.engine, queue.name) == {"complete": 11, "canceled": 1}
    client.redis.delete(gate.key)
