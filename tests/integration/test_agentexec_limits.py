"""Time limits and the recycling of worker processes, in real pools."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import select

import agentexec as ax
from agentexec.activity import Activity, ActivityLog, Status
from agentexec.core.db import create_schema
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.pool_process import PoolProcess, start_pool

if TYPE_CHECKING:
    from tests.conftest import Eventually

pytestmark = pytest.mark.integration

APP = """
import asyncio, os, time
from pathlib import Path
from uuid import UUID
from pydantic import BaseModel
import agentexec as ax

pool = ax.Pool()

class Work(BaseModel):
    name: str = ""

class Pid(BaseModel):
    pid: int

@pool.task("soft", soft_time_limit=0.2)
async def soft(agent_id: UUID, context: Work) -> None:
    await asyncio.Event().wait()

@pool.task("blocks-the-loop", time_limit=0.5)
async def blocks(agent_id: UUID, context: Work) -> None:
    time.sleep(3600)

@pool.task("innocent")
async def innocent(agent_id: UUID, context: Work) -> Pid:
    if ax.current_task().attempt == 1:
        Path(context.name).touch()
        await asyncio.Event().wait()
    return Pid(pid=os.getpid())

@pool.task("holds")
async def holds(agent_id: UUID, context: Work) -> None:
    if ax.current_task().attempt > 1:
        return
    Path(context.name + "-began").touch()
    try:
        await asyncio.Event().wait()
    finally:
        Path(context.name + "-stopped").touch()

@pool.task("who")
def who(agent_id: UUID, context: Work) -> Pid:
    return Pid(pid=os.getpid())
"""


class Work(BaseModel):
    """The context that every task of the app takes."""

    name: str = ""


class Running:
    """A pool of the app above on its own queue, and a client for it."""

    def __init__(self, client: ax.Client, process: PoolProcess) -> None:
        self.client = client
        self.process = process

    def enqueue(self, name: str, argument: str = "") -> UUID:
        return self.client.enqueue_sync(name, Work(name=argument)).agent_id

    def row(self, agent_id: UUID) -> Activity:
        query = select(Activity.status, Activity.error, Activity.attempt, Activity.result)
        with self.client.engine.connect() as connection:
            return connection.execute(query.where(Activity.id == agent_id)).one()  # type: ignore[return-value]  # a row

    def messages(self, agent_id: UUID) -> list[str]:
        query = select(ActivityLog.message).where(ActivityLog.activity_id == agent_id)
        with self.client.engine.connect() as connection:
            return list(connection.scalars(query.order_by(ActivityLog.fence, ActivityLog.n)))


Start = Callable[..., Running]


@pytest.fixture
def start(servers: EmbeddedEnvironment, forks: str, tmp_path: Path) -> Iterator[Start]:
    """Starts pools with settings given as environment variables; all are stopped in the end."""
    (tmp_path / "app.py").write_text(APP)
    started: list[Running] = []

    def begin(**settings: str) -> Running:
        queue = f"limits-{uuid4().hex}"
        urls = {"DATABASE_URL": servers.endpoints.database_url, "REDIS_URL": servers.endpoints.redis_url}
        client = ax.Client(database_url=urls["DATABASE_URL"], redis_url=urls["REDIS_URL"], queue_name=queue)
        create_schema(client.engine)
        process = start_pool(
            "app:pool",
            environment=os.environ | urls | settings | {"AGENTEXEC_QUEUE_NAME": queue},
            folder=tmp_path,
            log=tmp_path / f"{queue}.log",
            forks=forks,
        )
        started.append(Running(client, process))
        return started[-1]

    yield begin
    for pool in started:
        pool.process.signal(signal.SIGTERM)
        try:
            assert pool.process.wait() == 0
        finally:
            pool.process.signal(signal.SIGKILL)
            pool.client.close()


def test_a_handler_past_its_soft_limit_is_canceled_and_the_attempt_failed(
    start: Start, eventually: Eventually
) -> None:
    pool = start(
        AGENTEXEC_NUM_WORKERS="1", AGENTEXEC_MAX_TASK_RETRIES="1", AGENTEXEC_RETRY_BASE_SECONDS="0.01"
    )
    task = pool.enqueue("soft")
    eventually(lambda: pool.row(task).status is Status.ERROR, deadline=30)
    row = pool.row(task)
    assert row.attempt == 2
    assert row.error is not None
    assert "soft time limit of 0.2 s" in row.error


def test_a_handler_that_blocks_past_its_hard_limit_costs_only_its_own_process(
    start: Start, eventually: Eventually, tmp_path: Path
) -> None:
    pool = start(AGENTEXEC_NUM_WORKERS="1", AGENTEXEC_MAX_TASK_RETRIES="0", AGENTEXEC_MAX_CRASHES="0")
    began = tmp_path / "began"
    innocent = pool.enqueue("innocent", str(began))
    eventually(began.exists, deadline=30)
    blocker = pool.enqueue("blocks-the-loop")
    eventually(lambda: pool.row(blocker).status is Status.ERROR, deadline=30)
    assert "time limit of 0.5 s" in str(pool.row(blocker).error)
    eventually(lambda: pool.row(innocent).status is Status.COMPLETE, deadline=30)
    assert pool.row(innocent).attempt == 2
    assert "Released by a shutdown; it runs again." in pool.messages(innocent), (
        "it was not charged as a crash"
    )


def test_a_worker_is_replaced_after_its_number_of_tasks(start: Start, eventually: Eventually) -> None:
    pool = start(AGENTEXEC_NUM_WORKERS="1", AGENTEXEC_MAX_TASKS_PER_WORKER="3")
    pids: set[int] = set()

    def another_process_ran_one() -> bool:
        task = pool.enqueue("who")
        eventually(lambda: pool.row(task).status is Status.COMPLETE, deadline=30)
        pids.add(pool.row(task).result["pid"])
        return len(pids) >= 3

    eventually(another_process_ran_one, deadline=60)


def test_a_worker_past_its_memory_is_replaced(start: Start, eventually: Eventually) -> None:
    pool = start(AGENTEXEC_NUM_WORKERS="1", AGENTEXEC_MAX_WORKER_MEMORY="1")
    first = pool.enqueue("who")
    eventually(lambda: pool.row(first).status is Status.COMPLETE, deadline=30)

    def another() -> bool:
        task = pool.enqueue("who")
        eventually(lambda: pool.row(task).status is Status.COMPLETE, deadline=30)
        return bool(pool.row(task).result != pool.row(first).result)

    eventually(another, deadline=30)


def test_a_worker_that_redis_does_not_answer_stops_what_its_leases_no_longer_protect(
    start: Start, servers: EmbeddedEnvironment, eventually: Eventually, tmp_path: Path
) -> None:
    """Others take its tasks when the leases end; soon after that it must not be running them any longer."""
    lease = 3.0
    pool = start(AGENTEXEC_NUM_WORKERS="1", AGENTEXEC_LEASE_SECONDS=str(lease))
    task = pool.enqueue("holds", str(tmp_path / "task"))
    eventually((tmp_path / "task-began").exists, deadline=30)
    servers.pause("redis")
    try:
        eventually((tmp_path / "task-stopped").exists, deadline=4 * lease)
    finally:
        servers.resume("redis")
    eventually(lambda: pool.row(task).status is Status.COMPLETE, deadline=60)
