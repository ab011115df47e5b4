"""The floor of a drain as a process: the queue's script and the store's statements in a loop.

`python -m loadtests.bench.floor DATABASE_URL REDIS_URL QUEUE BATCH` works until the queue is empty.
"""

from __future__ import annotations

import sys
from uuid import uuid4

import redis

from agentexec.core.db import engine_for, one_statement
from agentexec.queue.protocol import Claim, Disposition, Finish, QueuePolicy, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store.rows import ActivityUpdate, Start
from agentexec.store.statements import record_batch
from agentexec.store.status import Status


def drain(database_url: str, redis_url: str, queue_name: str, batch: int) -> None:
    """Claim, record and finish until the queue is empty, with two store statements per task, as in a worker."""
    engine = one_statement(engine_for(database_url, test_connections=False))
    queue = RedisQueue(redis.Redis.from_url(redis_url), queue_name, QueuePolicy(lease_seconds=60))
    worker = f"floor-{uuid4().hex[:12]}"
    running: list[Claim] = []
    finishes: list[Finish] = []
    while True:
        answer = queue.step(StepRequest(worker=worker, nonce=uuid4().hex, finishes=finishes, want=batch))
        if not answer.claims and not running:
            break
        ended = [_ended(claim) for claim in running]
        with engine.begin() as connection:
            starts = [Start(claim.task_id, claim.token, "Task started.") for claim in answer.claims]
            record_batch(connection, starts, ended)
        finishes = [Finish(task_id=c.task_id, token=c.token, disposition=Disposition.ACK) for c in running]
        running = list(answer.claims)


def _ended(claim: Claim) -> ActivityUpdate:
    return ActivityUpdate(
        id=claim.task_id,
        token=claim.token,
        n=1,
        status=Status.COMPLETE,
        message="Task completed successfully.",
        percentage=100,
    )


if __name__ == "__main__":
    drain(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
