"""Details of the queue protocol that no other test distinguishes from a mutant."""

from __future__ import annotations

import pytest

from agentexec.errors import WorkerGone
from agentexec.queue.keys import PRIORITY_LEVELS, result_key
from agentexec.queue.protocol import Admission, Dispatch, Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from harness.simulation.queue.books import Books
from tests.conformance.test_queue import Bench, ids_of, new_ids
from tests.support.queue_contents import Inspector, RedisInspector, set_policy


@pytest.fixture
def bench(inspector: Inspector) -> Bench:
    return Bench(inspector)


def test_what_falls_due_queues_up_behind_what_is_ready(bench: Bench) -> None:
    ready, delayed = new_ids(2)
    bench.enqueue(delayed, delay=60)
    bench.enqueue(ready)
    bench.fall_due(delayed)
    assert ids_of(bench.claim(want=2)) == [ready, delayed]


def test_the_next_of_a_lock_key_queues_up_behind_what_is_ready(bench: Bench) -> None:
    first, second, free = new_ids(3)
    bench.enqueue(first, second, lock_key="k", from_reconciler=True)
    (claim,) = bench.claim()
    bench.enqueue(free)
    bench.finish(claim)
    assert ids_of(bench.claim(want=2)) == [free, second]


def test_a_task_that_is_not_the_head_of_its_partition_does_not_free_it() -> None:
    """No call reaches this case: a task that can finish is the head of its partition."""
    (head, other), books = new_ids(2), Books()
    books.part |= {head: "k", other: "k"}
    books.busy["k"] = head
    books.free_partition(other, 0)
    assert books.busy == {"k": head}


def test_what_is_overdue_is_due_now(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    bench.step(want=1, nonce="again")
    bench.expire(task)
    assert bench.step(want=1, nonce="again").next_due == 0


def test_a_replay_after_the_end_of_its_task_has_nothing_left_to_run(bench: Bench) -> None:
    task, other = new_ids(2)
    bench.enqueue(task, other)
    claim, kept = bench.step("slow", want=2, nonce="again").claims
    bench.step("other", finishes=[Finish(task_id=task, token=claim.token, disposition=Disposition.ACK)])
    assert bench.step("slow", want=2, nonce="again").claims == (kept,)


@pytest.mark.invariant("I4")
def test_a_replay_leaves_out_claims_that_another_worker_has_now(bench: Bench) -> None:
    """Else a worker that was away for longer than its leases would start, from one late reply, what another has by now:
    or two tasks of one lock key, of which one waits for the other.
    """
    task, kept = new_ids(2)
    bench.enqueue(task, kept)
    bench.step("slow", want=2, nonce="again")
    bench.expire(task)
    (claim,) = bench.step("other", want=1).claims
    assert claim.task_id == task
    assert ids_of(bench.step("slow", want=2, nonce="again").claims) == [kept]


def test_a_dead_letter_has_its_reason(bench: Bench) -> None:
    dead, living = new_ids(2)
    bench.enqueue(dead, living)
    (claim,) = bench.claim()
    bench.finish(claim, Disposition.DEAD_LETTER, delay=7, reason="no handler")
    assert bench.queue.dead_reasons([living, dead]) == {dead: "no handler"}


def test_claims_with_other_lock_keys_are_not_parked(bench: Bench) -> None:
    name = bench.queue.begin_rebuild("epoch")
    assert name is not None
    assert bench.queue.end_rebuild(name)
    bench.enqueue(*new_ids(2))
    first, second = bench.claim(want=2)
    assert not first.partitioned
    keys = {first.task_id: (first.token, "a"), second.task_id: (second.token, "b")}
    assert bench.queue.lock(keys) == (set(), set())


def test_registered_workers_are_listed_with_their_identities(bench: Bench) -> None:
    bench.queue.register("one", "host|1|2")
    bench.queue.register("two", "host|3|4")
    assert bench.queue.registered() == {"one": "host|1|2", "two": "host|3|4"}


def test_a_wait_of_zero_seconds_takes_no_wake_token(bench: Bench) -> None:
    bench.enqueue(*new_ids(1))
    assert not bench.queue.wait(0)
    assert bench.queue.wait(1), "the token is still there"
    assert not bench.queue.wait(0.01), "one task wakes one worker"


def test_a_task_that_is_handed_on_wakes_one_worker(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second, lock_key="k", from_reconciler=True)
    (claim,) = bench.claim()
    bench.inspector.silence()
    bench.finish(claim)
    assert bench.inspector.read().wake == 2, (
        "one for the task that was handed on, one for the work that is left"
    )


def test_results_travel_with_steps_that_claim_and_end_after_their_time(over_redis: RedisInspector) -> None:
    bench, queue = Bench(over_redis), over_redis.queue
    tasks = new_ids(2)
    bench.enqueue(*tasks)
    set_policy(queue, result_ttl_seconds=60)
    for n, task in enumerate(tasks):
        finish = Finish(task_id=task, token=0, disposition=Disposition.ACK, result="1")
        answer = queue.step(StepRequest(worker="w", nonce=f"n{n}", want=1, finishes=[finish]))
        assert (ids_of(answer.claims), answer.stale) == ([task], (finish,))
        assert 0 < int(queue.client.ttl(result_key(task))) <= 60
        queue.client.delete(result_key(task))


def test_queues_of_different_names_on_one_server_share_nothing(over_redis: RedisInspector) -> None:
    other = RedisQueue(over_redis.queue.client, f"{over_redis.queue.name}-other")
    (task,) = new_ids(1)
    Bench(over_redis).enqueue(task)
    assert other.known([task]) == [False]
    assert other.name != over_redis.queue.name


def test_after_loss_of_memory_claims_with_lock_keys_are_void_and_come_again(
    bench: Bench,
) -> None:
    """The holder of the lock key is unknown before the reconciler has run; a waiting claim occupies a slot."""
    gone, *tasks = new_ids(3)
    bench.enqueue(gone, *tasks)
    claims = bench.claim(want=3)
    bench.release("w", {gone: claims[0].token})
    parked, lost = bench.queue.lock({claim.task_id: (claim.token, "k") for claim in claims})
    assert (parked, lost) == (set(tasks), {gone})
    assert (bench.queue.depth().leased, bench.queue.depth().scheduled) == (0, 2)
    due = bench.step().next_due
    assert due is not None
    assert 0 < due <= 1
    assert bench.finish(claims[1]) is False, "the claim is void"
    bench.fall_due(*tasks)
    assert sorted(ids_of(bench.claim(want=9))) == sorted([gone, *tasks])


def test_an_enqueue_has_no_cap_by_default_and_is_not_the_reconcilers(bench: Bench) -> None:
    tasks = [Dispatch(task_id=i, payload=b"", level=1) for i in new_ids(2)]
    assert bench.queue.enqueue(tasks) == [Admission.TAKEN, Admission.TAKEN]
    (locked,) = new_ids(1)
    waits = Dispatch(task_id=locked, payload=b"", level=1, lock_key="k")
    assert bench.queue.enqueue([waits]) == [Admission.LATER]


def test_a_queue_with_room_for_one_admits_one_and_refuses_the_next(bench: Bench) -> None:
    tasks = [Dispatch(task_id=i, payload=b"", level=1) for i in new_ids(2)]
    set_policy(bench.queue, max_depth=1)
    assert bench.queue.enqueue(tasks) == [Admission.TAKEN, Admission.FULL]


def test_a_task_of_a_priority_that_does_not_exist_waits_in_the_last_list(bench: Bench) -> None:
    beyond, last = new_ids(2)
    bench.enqueue(last, level=PRIORITY_LEVELS - 1)
    bench.enqueue(beyond, level=PRIORITY_LEVELS)
    places = bench.inspector.read().places
    assert places[f"p{PRIORITY_LEVELS - 1}"] == [str(last), str(beyond)]


def test_a_worker_keeps_the_leases_that_it_does_not_release_unless_it_is_gone(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (claim,) = bench.claim()
    assert bench.release("w", {}) == ({}, {})
    assert bench.queue.depth().leased == 1
    released, _ = bench.release("w", {}, declare_gone=True)
    assert released == {task: claim.token}
    with pytest.raises(WorkerGone):
        bench.claim("w")


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lease_that_is_lost_keeps_no_other_from_being_given_back(bench: Bench, lost: int) -> None:
    tasks = new_ids(2)
    bench.enqueue(*tasks)
    claims = bench.claim(want=2)
    bench.finish(claims[lost])
    released, _ = bench.release("w", {claim.task_id: claim.token for claim in claims})
    assert list(released) == [tasks[1 - lost]]


def test_each_differing_setting_is_reported_with_its_old_value(bench: Bench) -> None:
    bench.queue.agree({"lease": "30", "slots": "4", "same": "1"})
    assert bench.queue.agree({"lease": "60", "slots": "8", "same": "1"}) == {"lease": "30", "slots": "4"}


def test_a_result_is_kept_for_an_hour_by_default(over_redis: RedisInspector) -> None:
    (task,) = new_ids(1)
    finish = Finish(task_id=task, token=0, disposition=Disposition.ACK, result="1")
    over_redis.queue.step(StepRequest(worker="w", nonce="n", finishes=[finish]))
    assert 0 < int(over_redis.queue.client.pttl(result_key(task))) <= 3_600_000


def test_a_reason_that_is_not_text_is_decoded_as_far_as_possible(over_redis: RedisInspector) -> None:
    (task,) = new_ids(1)
    over_redis.queue.client.hset(over_redis.queue.keys.reason, str(task), b"broken \xff")
    assert over_redis.queue.dead_reasons([task]) == {task: "broken \N{REPLACEMENT CHARACTER}"}
