"""Lock keys: of the tasks that share one, at most one is leased, from the first delivery on (I11)."""

from __future__ import annotations

import pytest

from agentexec.queue.protocol import Disposition
from tests.conformance.test_queue import Bench, ids_of, new_ids
from tests.support.queue_contents import Inspector, RedisInspector
from tests.support.queue_invariants import require_consistent


@pytest.fixture
def bench(inspector: Inspector) -> Bench:
    """A queue with a complete memory."""
    name = inspector.queue.begin_rebuild("epoch")
    assert name is not None
    assert inspector.queue.end_rebuild(name)
    return Bench(inspector)


@pytest.mark.invariant("I11")
def test_one_task_of_a_lock_key_is_claimed_at_a_time_in_the_order_of_enqueuing(bench: Bench) -> None:
    tasks = new_ids(3)
    bench.enqueue(*tasks, lock_key="user:1")
    for task in tasks:
        (claim,) = bench.claim(want=5)
        assert claim.task_id == task
        assert claim.partitioned
        assert bench.claim("other", want=5) == []
        bench.finish(claim)
    assert bench.queue.depth().known == 0


def test_other_lock_keys_and_tasks_without_one_are_not_held_up(bench: Bench) -> None:
    first, second, other, free = new_ids(4)
    bench.enqueue(first, second, lock_key="user:1")
    bench.enqueue(other, lock_key="user:2")
    bench.enqueue(free)
    assert sorted(ids_of(bench.claim(want=9))) == sorted([first, other, free])


def test_a_retry_keeps_the_lock_so_that_order_holds(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k")
    (claim,) = bench.claim()
    bench.finish(claim, Disposition.RETRY, delay=60)
    assert bench.claim(want=5) == []
    bench.fall_due(first)
    assert ids_of(bench.claim(want=5)) == [first]


def test_a_task_that_yields_lets_the_next_go_first_and_comes_again(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k")
    (claim,) = bench.claim()
    bench.finish(claim, Disposition.DEFER, delay=60)
    (other,) = bench.claim(want=5)
    assert other.task_id == second
    bench.fall_due(first)
    assert bench.claim(want=5) == [], "it waits for the one that it let pass"
    bench.finish(other)
    assert ids_of(bench.claim(want=5)) == [first]


@pytest.mark.parametrize("disposition", [Disposition.ACK, Disposition.DEAD_LETTER])
def test_the_end_of_a_task_hands_the_lock_to_the_next(bench: Bench, disposition: Disposition) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k")
    (claim,) = bench.claim()
    bench.finish(claim, disposition, reason="broken")
    assert ids_of(bench.claim(want=5)) == [second]


def test_a_reaped_task_runs_again_before_the_next_of_its_lock_key(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k")
    (lost,) = bench.claim("frozen")
    bench.expire(first)
    (claim,) = bench.claim("w", want=5)
    assert claim.task_id == first
    assert claim.token > lost.token
    assert not bench.finish(lost), "the frozen worker no longer holds the lock and cannot pass it on"
    assert bench.claim(want=5) == []


def test_a_released_task_runs_again_before_the_next_of_its_lock_key(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k")
    bench.claim("dead")
    bench.release("dead", charge=True, declare_gone=True)
    assert ids_of(bench.claim(want=5)) == [first]


def test_a_delayed_task_takes_its_lock_when_it_is_due_and_not_before(bench: Bench) -> None:
    later, sooner = new_ids(2)
    bench.enqueue(later, delay=60, lock_key="k")
    bench.enqueue(sooner, lock_key="k")
    assert ids_of(bench.claim(want=5)) == [sooner]
    bench.fall_due(later)
    assert bench.claim(want=5) == [], "its turn comes after the one that runs"


def test_a_task_that_is_canceled_while_it_waits_hands_the_lock_to_the_next(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k", from_reconciler=True)
    assert bench.queue.request_cancel([first]) == [False]
    assert ids_of(bench.claim(want=2)) == [second]


def test_a_task_that_died_too_often_hands_the_lock_to_the_next(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k")
    for _ in range(3):
        assert ids_of(bench.claim("dying", want=5)) == [first]
        bench.expire(first)
        last = bench.step()
    assert list(last.expired.dead) == [first]
    assert ids_of(bench.claim(want=5)) == [second]


@pytest.mark.invariant("I11")
def test_claims_whose_producer_knew_no_lock_key_get_theirs_before_they_run(bench: Bench) -> None:
    first, second, third = new_ids(3)
    bench.enqueue(first, second, third)
    claims = bench.claim(want=3)
    wanted = {claim.task_id: (claim.token, "k") for claim in claims}
    parked, lost = bench.queue.lock(wanted)
    require_consistent(bench.queue)
    assert (parked, lost) == ({second, third}, set())
    assert bench.queue.lock({first: wanted[first]}) == (set(), set()), "asking again changes nothing"
    bench.finish(claims[0])
    (following,) = bench.claim(want=5)
    assert following.task_id == second
    assert following.partitioned


def test_a_lost_claim_gets_no_lock(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (claim,) = bench.claim()
    bench.release("w", {task: claim.token})
    before = bench.contents()
    assert bench.queue.lock({task: (claim.token, "k")}) == (set(), {task})
    assert bench.contents() == before


def test_after_loss_of_memory_only_the_reconciler_restores_tasks_with_lock_keys(bench: Bench) -> None:
    """Else a task that was queued behind a running one could start while the running one still runs."""
    running, behind = new_ids(2)
    bench.enqueue(running, behind, lock_key="k")
    bench.claim()
    bench.inspector.forget()
    assert bench.enqueue(behind, lock_key="k") == [False]
    name = bench.queue.begin_rebuild("again")
    assert name is not None
    assert bench.enqueue(running, from_reconciler=True, lock_key="k") == [True]
    assert bench.queue.end_rebuild(name)
    assert bench.enqueue(behind, lock_key="k") == [True]
    assert ids_of(bench.claim(want=5)) == [running]


def test_after_loss_of_memory_a_claim_whose_worker_finds_a_lock_key_is_void(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.inspector.forget()
    bench.enqueue(task)
    (claim,) = bench.claim()
    assert bench.queue.lock({task: (claim.token, "k")}) == ({task}, set())
    depth = bench.queue.depth()
    assert (depth.leased, depth.scheduled) == (0, 1)


def test_what_is_not_an_id_goes_to_the_dead_letters_and_no_worker_sees_it(over_redis: RedisInspector) -> None:
    bench, queue = Bench(over_redis), over_redis.queue
    (task,) = new_ids(1)
    bench.enqueue(task)
    name = str(task)
    almost = [name[:-1], name.upper(), name[1:9] + name[0] + name[9:], name + "\n"]
    for garbage in (b"", b"\xff\x00|", b"x" * 36, b"{'a': 1}", *[text.encode() for text in almost]):
        queue.client.rpush(queue.keys.ready[0], garbage)
    queue.client.hset(queue.keys.job, name.upper(), "1{}")  # a worker would finish it under its proper name
    assert ids_of(bench.claim(want=9)) == [task]
    assert queue.depth().dead == 8
