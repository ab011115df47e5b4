"""What a queue knows of its workers ends by itself, and it serves one activity store."""

from __future__ import annotations

import pytest

from agentexec.errors import WorkerGone
from agentexec.queue.protocol import Disposition, QueuePolicy
from tests.conformance.test_queue import Bench, new_ids
from tests.support.queue_contents import Inspector, MemoryInspector, RedisInspector
from tests.support.queue_invariants import require_consistent


@pytest.fixture
def bench(inspector: Inspector) -> Bench:
    return Bench(inspector)


def let_all_be_silent(bench: Bench, seconds: float | None = None) -> None:
    """All registered workers have been silent for `seconds`, or for so long that they are forgotten."""
    silence = round((seconds or bench.queue.policy.silence_seconds) * 1000)
    if isinstance(bench.inspector, MemoryInspector):
        bench.inspector.clock.milliseconds += silence
        return
    assert isinstance(bench.inspector, RedisInspector)
    queue = bench.inspector.queue
    past = {worker: at - silence for worker, at in bench.inspector.read().seen.items()}
    queue.client.zadd(queue.keys.seen, past)


def test_a_worker_that_was_silent_for_long_is_forgotten(bench: Bench) -> None:
    for worker in ("lost", "living"):
        bench.queue.register(worker, f"host|{worker}")
        bench.step(worker, nonce="n")
    let_all_be_silent(bench)
    bench.queue.register("living", "host|living")
    assert bench.queue.registered() == {"living": "host|living"}
    read = bench.inspector.read()
    assert set(read.seen) == set(read.nonces) == {"living"}


def test_a_lease_of_a_forgotten_worker_expires_as_any_other(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    bench.queue.register("lost", "host|1")
    bench.claim("lost")
    let_all_be_silent(bench)
    bench.queue.register("living", "host|2")
    require_consistent(bench.queue)
    if bench.queue.depth().leased:
        bench.expire(task)
    assert list(bench.step("living").expired.requeued) == [task]


def test_named_leases_of_any_worker_are_revoked(bench: Bench) -> None:
    first, second, third = new_ids(3)
    bench.enqueue(first, second, third)
    (mine,), (other,), (kept,) = bench.claim("w"), bench.claim("v"), bench.claim("v")
    named = {mine.task_id: mine.token, other.task_id: other.token, kept.task_id: kept.token - 1}
    revoked = bench.queue.release(None, named)
    assert (dict(revoked.requeued), dict(revoked.dead)) == (
        {mine.task_id: mine.token, other.task_id: other.token},
        {},
    )
    assert bench.queue.leases(list(named)) == {kept.task_id: kept.token}, "it has another token"


def test_a_long_lease_makes_for_a_long_memory() -> None:
    assert QueuePolicy(lease_seconds=30).silence_seconds == 3600
    assert QueuePolicy(lease_seconds=3600).silence_seconds == 36_000


def test_a_worker_that_was_declared_dead_cannot_register(bench: Bench) -> None:
    """Its last renewal may arrive late, and no process would remove what it leaves."""
    bench.queue.register("ghost", "host|1")
    bench.release("ghost", declare_gone=True)
    bench.queue.register("ghost", "host|1")
    assert bench.queue.registered() == {}
    with pytest.raises(WorkerGone):
        bench.step("ghost")


def test_workers_of_an_older_version_are_forgotten_too(over_redis: RedisInspector) -> None:
    """They write their registration and nothing else."""
    queue = over_redis.queue
    queue.client.hset(queue.keys.workers, "old", "host|1")
    queue.register("new", "host|2")
    assert set(queue.registered()) == {"old", "new"}
    queue.client.zadd(queue.keys.seen, {"old": 1})
    queue.register("new", "host|2")
    assert set(queue.registered()) == {"new"}


def test_what_the_last_worker_leaves_ends_by_itself(over_redis: RedisInspector) -> None:
    queue, bench = over_redis.queue, Bench(over_redis)
    queue.register("last", "host|1")
    bench.step("last")
    queue.register("last", "host|1")
    queue.release("first", None, declare_gone=True)
    keys, client = queue.keys, queue.client
    silence = queue.policy.silence_seconds
    assert all(0 < client.ttl(key) <= silence for key in (keys.workers, keys.seen, keys.last))
    assert 0 < client.ttl(keys.gone) <= 24 * 3600


def test_a_queue_in_use_serves_one_store(bench: Bench) -> None:
    (task,) = new_ids(1)
    assert bench.queue.adopt("one") is None
    assert bench.queue.adopt("one") is None
    assert bench.queue.adopt("two") is None, "it is empty and has no workers"
    bench.enqueue(task)
    assert bench.queue.adopt("one") == "two"
    assert bench.queue.adopt("two") is None
    (claim,) = bench.claim("w")
    bench.finish(claim, Disposition.DEAD_LETTER, reason="no")
    bench.release("w", declare_gone=True)
    assert bench.queue.adopt("one") is None, "a dead letter is no use"


def test_a_living_worker_is_use_and_a_silent_one_is_not(bench: Bench) -> None:
    bench.queue.adopt("one")
    bench.queue.register("w", "host|1")
    assert bench.queue.adopt("two") == "one"
    let_all_be_silent(bench)
    assert bench.queue.adopt("two") is None


def test_an_operator_can_change_the_store_in_any_case(bench: Bench) -> None:
    bench.queue.adopt("one")
    bench.enqueue(*new_ids(1))
    assert bench.queue.adopt("two", force=True) is None
    assert bench.queue.adopt("one") == "two"
