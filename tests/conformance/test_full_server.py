"""A Redis that has reached its maxmemory: what empties it must go on, or every lease is lost."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from agentexec.identifiers import new_id
from agentexec.queue.protocol import Dispatch, Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from harness.environments.embedded import EmbeddedEnvironment

pytestmark = pytest.mark.integration


@pytest.fixture
def queue(servers: EmbeddedEnvironment) -> Iterator[RedisQueue]:
    client: redis.Redis = redis.Redis.from_url(servers.endpoints.redis_url)
    queue = RedisQueue(client, f"full-{uuid4().hex}")
    yield queue
    client.config_set("maxmemory", 0)
    queue.drop()
    client.close()


def test_on_a_full_server_tasks_are_renewed_finished_and_claimed_but_not_enqueued(queue: RedisQueue) -> None:
    tasks = [Dispatch(task_id=new_id(), payload=b"{}", level=1) for _ in range(3)]
    queue.enqueue(tasks[:2])
    (claim,) = queue.step(StepRequest(worker="w", nonce="1", want=1)).claims
    queue.client.config_set("maxmemory", 1)
    with pytest.raises(redis.ResponseError, match=r"OOM|maxmemory"):
        queue.enqueue(tasks[2:])
    assert queue.renew("w", {claim.task_id: claim.token}) == (set(), set())
    finish = Finish(task_id=claim.task_id, token=claim.token, disposition=Disposition.ACK)
    answer = queue.step(StepRequest(worker="w", nonce="2", finishes=[finish], want=1))
    assert answer.stale == ()
    assert [other.task_id for other in answer.claims] == [tasks[1].task_id]
