"""What a queue holds without an owner is found: nothing would ever remove it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import fakeredis
import pytest
import redis

from agentexec.queue.keys import QueueKeys, result_key
from agentexec.queue.protocol import Dispatch, Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from harness.checkers import nothing_left
from harness.checkers.base import Verdict
from harness.targets.queue_owners import redis_orphans
from tests.support.histories import HistoryBuilder

TASKS = [UUID(int=n) for n in range(1, 7)]
GHOST = UUID(int=99)


@pytest.fixture
def client() -> redis.Redis:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))


@pytest.fixture
def queue(client: redis.Redis) -> RedisQueue:
    """A queue with a task in every state, and a worker."""
    queue = RedisQueue(client, "owned*[1]")
    name = queue.begin_rebuild("one")
    assert name is not None
    queue.end_rebuild(name)
    queue.register("w", "host|1|1")
    queue.enqueue([Dispatch(task_id=i, payload=b"{}", level=1, lock_key="k") for i in TASKS[:2]])
    queue.enqueue([Dispatch(task_id=i, payload=b"{}", level=1) for i in TASKS[2:4]])
    queue.enqueue([Dispatch(task_id=TASKS[4], payload=b"{}", level=0, delay=60)])
    claims = queue.step(StepRequest(worker="w", nonce="1", want=2)).claims
    dead = Finish(
        task_id=TASKS[2], token=claims[1].token, disposition=Disposition.DEAD_LETTER, reason="no", result="1"
    )
    queue.step(StepRequest(worker="w", nonce="2", finishes=[dead]))
    queue.request_cancel([TASKS[0]])
    queue.release("dead", None, declare_gone=True)
    queue.agree({"max_crashes": "5"})
    queue.adopt("store")
    client.incr("{owned*[1]}:rate/someone")
    client.set("{owned*[1]", "the key of another application")
    return queue


def test_a_queue_in_use_holds_nothing_without_an_owner(client: redis.Redis, queue: RedisQueue) -> None:
    assert redis_orphans(client, queue.keys, TASKS) == []


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda c, k: c.zadd(k.lease, {str(GHOST): 1}), f"lease {GHOST}"),
        (lambda c, k: c.hset(k.holder, str(GHOST), "1|w"), f"holder {GHOST}"),
        (lambda c, k: c.zadd(k.sched, {str(GHOST): 1}), f"sched {GHOST}"),
        (lambda c, k: c.hset(k.crash, str(GHOST), 1), f"crash {GHOST}"),
        (lambda c, k: c.hset(k.suspect, str(GHOST), "1|1"), f"suspect {GHOST}"),
        (lambda c, k: c.zadd(k.alone, {str(GHOST): 1}), f"alone {GHOST}"),
        (lambda c, k: c.hset(k.cancel, str(GHOST), 1), f"cancel {GHOST}"),
        (lambda c, k: c.hset(k.part, str(GHOST), "p"), f"part {GHOST}"),
        (lambda c, k: c.hset(k.busy, "p", str(GHOST)), f"busy {GHOST}"),
        (lambda c, k: c.zadd(k.parked, {f"p|{1:020d}|{GHOST}": 0}), f"parked {GHOST}"),
        (lambda c, k: c.rpush(k.ready[1], str(GHOST)), f"ready {GHOST}"),
        (lambda c, k: c.hset(k.reason, str(GHOST), "no"), f"reason {GHOST}"),
        (lambda c, k: c.hset(k.workers, "ghost", "host"), "workers ghost"),
        (lambda c, k: c.hset(k.last, "ghost", "[]"), "last ghost"),
        (lambda c, k: c.set(k.job.replace("job", "jobs"), "1"), "key {owned*[1]}:jobs"),
        (lambda c, k: c.set(result_key(TASKS[0]), "1"), f"endless {result_key(TASKS[0])}"),
    ],
)
def test_everything_without_an_owner_is_named(
    client: redis.Redis, queue: RedisQueue, plant: Callable[[redis.Redis, QueueKeys], object], said: str
) -> None:
    plant(client, queue.keys)
    assert redis_orphans(client, queue.keys, TASKS) == [said]


def test_orphans_are_left_over() -> None:
    result = nothing_left()(HistoryBuilder().queue(orphans=["lease a", "key b"]).history)
    assert result.verdict is Verdict.INVALID
    assert result.counterexamples == ({"kind": "left", "orphans": 2, "named": ["lease a", "key b"]},)
    assert result.figures["orphans"] == 2
    assert nothing_left()(HistoryBuilder().queue(orphans=[]).history).verdict is Verdict.VALID
