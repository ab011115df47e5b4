"""A Redis that has reached its maxmemory and evicts nothing: only a pool can empty it, so a pool has to start on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentexec.queue.dead_letters import DeadLetters
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from harness.environments.base import Environment
from tests.support.pool_process import App, Job
from tests.support.servers import required_redis7

if TYPE_CHECKING:
    from harness.environments.embedded import EmbeddedEnvironment
    from tests.conftest import Eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def redis7() -> Iterator[Environment]:
    with required_redis7() as environment:
        yield environment


@pytest.fixture(params=["valkey", "redis7"])
def app(request: pytest.FixtureRequest, forks: str, tmp_path: Path) -> Iterator[App]:
    """An application whose Redis may be filled; it has room again afterwards."""
    name = "servers" if request.param == "valkey" else "redis7"
    servers: EmbeddedEnvironment = request.getfixturevalue(name)
    app = App(servers, tmp_path, forks)
    yield app
    app.client.redis.config_set("maxmemory", 0)
    app.close()


def test_a_pool_starts_on_a_full_redis_and_empties_its_queue(app: App, eventually: Eventually) -> None:
    queue, server = app.client.queue, app.client.redis
    first = app.pool(num_workers=1)  # so that the queue is not a new one
    eventually(queue.epoch, deadline=30)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    tasks = app.enqueue(*range(20)) + app.enqueue(20, name="fail") + app.enqueue(21, name="thread")
    assert queue.depth().ready == 22
    server.config_set("maxmemory", 1)
    pool = app.pool(num_workers=2, max_task_retries=1)
    eventually(lambda: queue.depth().known == queue.depth().dead == 1, deadline=60)
    assert app.all_complete(tasks[:20] + tasks[21:])
    assert app.row(tasks[20]).status == "error"
    assert "ended with code" not in pool.log
    late = app.client.enqueue_sync("work", Job(number=30)).agent_id
    assert (app.row(late).status, app.row(late).dispatched) == ("queued", False)
    assert queue.depth().ready == 0
    server.config_set("maxmemory", 0)
    eventually(lambda: app.row(late).status == "complete", deadline=60)


def test_on_a_full_redis_running_tasks_are_renewed_canceled_released_and_recovered(
    app: App, eventually: Eventually
) -> None:
    queue, server = app.client.queue, app.client.redis
    pool = app.pool(num_workers=1, lease_seconds=3)
    eventually(queue.epoch, deadline=30)
    kept, canceled, crashed = app.enqueue(1, 2, 3, hold=[1])
    eventually(lambda: all(app.begun(n) for n in (1, 2, 3)), deadline=30)
    server.config_set("maxmemory", 1)
    app.client.cancel([canceled])
    eventually(lambda: app.row(canceled).status == "canceled", deadline=30)
    assert app.row(kept).fence == app.row(kept).log[-1].fence, "its lease is renewed"
    pool.kill_all()
    app.let_go(1)
    app.pool(num_workers=1, lease_seconds=3)
    eventually(lambda: app.all_complete([kept, crashed]), deadline=60)
    assert {app.row(task).attempt for task in (kept, crashed)} == {2}


def test_the_dead_letters_of_a_full_redis_can_be_purged(app: App) -> None:
    """They stay in the memory of the server until an operator deletes them."""
    queue, server = app.client.queue, app.client.redis
    (task,) = app.enqueue(1)
    (claim,) = queue.step(StepRequest(worker="w", nonce="1", want=1)).claims
    finish = Finish(
        task_id=task, token=claim.token, disposition=Disposition.DEAD_LETTER, reason="for this test"
    )
    queue.step(StepRequest(worker="w", nonce="2", finishes=[finish]))
    server.config_set("maxmemory", 1)
    letters = DeadLetters(queue, app.client.engine)
    assert queue.depth().dead == letters.count() == 1
    assert letters.purge([task]) == 1
    assert (queue.depth().dead, queue.depth().known) == (0, 0)
