"""What the death of a worker with several tasks means for them, on every queue.

The queue does not know which task killed the worker. It charges none, and after a second death each of them runs alone.
"""

from __future__ import annotations

from uuid import UUID

import pytest

from agentexec.queue.protocol import Claim, Disposition, Finish, StepRequest
from tests.conformance.test_queue import MAX_CRASHES, Bench, ids_of, new_ids
from tests.conformance.test_queue_workers import let_all_be_silent
from tests.support.queue_contents import Inspector, RedisInspector


@pytest.fixture
def bench(inspector: Inspector) -> Bench:
    return Bench(inspector)


def crash(bench: Bench, worker: str, *tasks: UUID) -> None:
    """Let a worker claim these ready tasks and die."""
    claims = bench.claim(worker, want=len(tasks))
    assert set(ids_of(claims)) == set(tasks)
    bench.release(worker, charge=True, declare_gone=True)


def suspects(bench: Bench, count: int, *, lock_key: str | None = None) -> list[UUID]:
    """Tasks whose workers died twice."""
    tasks = new_ids(count)
    for task in tasks:
        bench.enqueue(task, lock_key=lock_key and f"{lock_key} {task}", from_reconciler=True)
    crash(bench, "dead 1", *tasks)
    crash(bench, "dead 2", *tasks)
    return tasks


def register(bench: Bench, workers: int) -> None:
    for number in range(workers):
        bench.queue.register(f"w{number}", f"host|{number}|1")


def end(
    bench: Bench, claim: Claim, worker: str, want: int = 0, how: Disposition = Disposition.ACK
) -> list[Claim]:
    finish = Finish(task_id=claim.task_id, token=claim.token, disposition=how, reason="it failed")
    return list(bench.step(worker, want=want, finishes=[finish]).claims)


@pytest.mark.invariant("I10")
def test_a_death_with_several_tasks_charges_none_and_the_second_one_separates_them(bench: Bench) -> None:
    tasks = new_ids(3)
    bench.enqueue(*tasks)
    crash(bench, "first", *tasks)
    assert bench.crashes == {}
    assert ids_of(bench.claim("second", want=9)) == tasks, "one death may have had any cause"
    bench.release("second", charge=True)
    assert bench.crashes == {}
    assert bench.queue.depth().ready == 3
    assert ids_of(bench.claim("third", want=9)) == tasks[:1]


@pytest.mark.invariant("I10")
def test_leases_that_expire_together_charge_none_and_the_second_time_separates_the_tasks(
    bench: Bench,
) -> None:
    tasks = new_ids(3)
    bench.enqueue(*tasks)
    for worker in ("first", "second"):
        assert ids_of(bench.claim(worker, want=9)) == tasks, "a lost host says nothing about its tasks"
        for task in tasks:
            bench.expire(task)
        assert sorted(bench.step("other").expired.requeued) == tasks
        assert bench.crashes == {}
    assert ids_of(bench.claim("third", want=9)) == tasks[:1]


@pytest.mark.invariant("I10")
def test_only_the_task_that_kills_its_workers_is_charged_and_ends_as_a_dead_letter(bench: Bench) -> None:
    fatal, *others = new_ids(4)
    bench.enqueue(fatal, *others)
    deliveries, completed, worker = 0, [], 0
    while bench.queue.depth().known > bench.queue.depth().dead:
        claims = bench.claim(f"w{worker}", want=8)
        if fatal in ids_of(claims):
            deliveries += 1
            bench.release(f"w{worker}", charge=True, declare_gone=True)
            worker += 1
        else:
            completed += ids_of(claims)
            for claim in claims:
                assert end(bench, claim, f"w{worker}") == []
    assert sorted(completed) == others
    assert deliveries == 2 + MAX_CRASHES + 1
    reason = f"its worker died {MAX_CRASHES + 1} times while running it"
    assert bench.queue.dead_reasons([fatal, *others]) == {fatal: reason}
    assert set(bench.crashes) == {str(fatal)}


def test_a_task_that_crashed_twice_by_itself_runs_alone_from_then_on(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    crash(bench, "w1", task)
    bench.enqueue(*(others := new_ids(2)))
    assert ids_of(bench.claim("v", want=1)) == [task]
    bench.claim("busy")
    bench.release("v", charge=True)
    assert bench.crashes == {str(task): 2}
    assert ids_of(bench.claim("busy", want=3)) == others[1:]
    assert ids_of(bench.claim("v", want=3)) == [task]


def test_a_worker_that_runs_a_task_alone_claims_nothing_until_it_ended(bench: Bench) -> None:
    first, second = suspects(bench, 2)
    other = new_ids(1)
    bench.enqueue(*other)
    answer = bench.step("w", want=8)
    assert ids_of(answer.claims) == [first]
    assert answer.reserved
    again = bench.step("w", want=8)
    assert (again.claims, again.reserved) == ((), True), "also where it says that it has no other lease"
    assert ids_of(end(bench, answer.claims[0], "w", want=8)) == [second], "before all others"
    (claim,) = bench.claim("v", want=8)
    assert claim.task_id == other[0]


@pytest.mark.parametrize("busy", [True, False])
def test_a_worker_with_other_leases_gets_no_task_that_runs_alone(bench: Bench, busy: bool) -> None:
    first, later = new_ids(2)
    bench.enqueue(first)
    bench.claim("w")
    suspects(bench, 1)
    bench.enqueue(later)
    answer = bench.step("w", want=8, busy=busy)
    assert ids_of(answer.claims) == [later]
    assert not answer.reserved


def test_a_dead_letter_keeps_no_cancel_request(bench: Bench) -> None:
    """Each step of every worker looks through the requests."""
    (task,) = new_ids(1)
    bench.enqueue(task)
    for _ in range(MAX_CRASHES + 1):
        bench.claim("w")
        assert bench.queue.request_cancel([task]) == [True]
        bench.release("w", charge=True)
    contents = bench.inspector.read()
    assert (set(contents.reasons), contents.cancels) == ({str(task)}, set())


@pytest.mark.parametrize("how", [Disposition.ACK, Disposition.RETRY, Disposition.DEAD_LETTER])
def test_a_task_whose_handler_ended_is_no_suspect_any_longer(bench: Bench, how: Disposition) -> None:
    task, other = suspects(bench, 2)
    (claim,) = bench.claim("w", want=8)
    end(bench, claim, "w", how=how)
    assert set(bench.inspector.read().suspects) == {str(other)}
    (claim,) = bench.claim("w", want=8)
    bench.enqueue(*(others := new_ids(1)))
    retried = [task] if how is Disposition.RETRY else []
    assert ids_of(end(bench, claim, "w", want=8)) == [*retried, *others]


@pytest.mark.parametrize("how", ["defer", "release"])
def test_a_suspect_that_did_not_end_runs_alone_again(bench: Bench, how: str) -> None:
    task, other = suspects(bench, 2)
    (claim,) = bench.claim("w", want=8)
    if how == "defer":
        end(bench, claim, "w", how=Disposition.DEFER)
    else:
        bench.release("w", {claim.task_id: claim.token})
    assert set(bench.inspector.read().suspects) == {str(task), str(other)}
    assert len(bench.claim("w", want=8)) == 1


@pytest.mark.invariant("I10")
def test_leases_of_one_worker_that_expire_one_after_the_other_charge_none(bench: Bench) -> None:
    """The last one to expire was not the only one of its worker when the worker died."""
    tasks = new_ids(3)
    bench.enqueue(*tasks)
    bench.claim("frozen", want=3)
    for task in tasks:
        bench.expire(task)
        bench.step("other")
    assert bench.crashes == {}
    assert [deaths for deaths, _ in bench.inspector.read().suspects.values()] == [1, 1, 1]
    assert len(bench.claim("other", want=3)) == 3


@pytest.mark.invariant("I10")
def test_a_task_that_did_not_begin_is_charged_only_once_it_runs_alone(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    for crashes in (0, 0, 1):
        bench.claim("w")
        bench.release("w", charge=True, begun=False)
        assert bench.crashes.get(str(task), 0) == crashes


def test_a_suspect_that_expires_alone_is_charged(bench: Bench) -> None:
    first, _ = suspects(bench, 2)
    bench.claim("frozen", want=3)
    bench.expire(first)
    bench.step("other")
    assert bench.crashes == {str(first): 1}


@pytest.mark.invariant("I11")
def test_a_lock_key_waits_for_the_suspect_that_has_it(bench: Bench) -> None:
    task, other, behind = new_ids(3)
    bench.enqueue(task, lock_key="k", from_reconciler=True)
    bench.enqueue(other)
    crash(bench, "dead 1", task, other)
    crash(bench, "dead 2", task, other)
    bench.enqueue(behind, lock_key="k", from_reconciler=True)
    assert bench.queue.depth().parked == 1
    (claim,) = bench.claim("w", want=8)
    assert claim.task_id == task
    assert bench.claim("v", want=8) == [], "one waits for the lock key, the other one to run alone"
    (claim,) = end(bench, claim, "w", want=8)
    assert claim.task_id == other
    assert ids_of(bench.claim("v", want=8)) == [behind]


def test_half_of_the_workers_at_most_run_tasks_alone(bench: Bench) -> None:
    """Else one bad task would stop all others for as long as its neighbours run."""
    suspects(bench, 4)
    register(bench, 4)
    others = new_ids(2)
    bench.enqueue(*others)
    assert [len(bench.claim(f"w{n}", want=8)) for n in range(2)] == [1, 1]
    assert ids_of(bench.claim("w2", want=8)) == others


def test_workers_that_are_silent_are_no_reason_to_run_more_tasks_alone(bench: Bench) -> None:
    """Those of a dead host stay registered for an hour, and the living ones have to run the other tasks."""
    suspects(bench, 4)
    register(bench, 8)
    let_all_be_silent(bench, 100)
    register(bench, 2)
    others = new_ids(1)
    bench.enqueue(*others)
    assert len(bench.claim("w0", want=8)) == 1
    assert ids_of(bench.claim("w1", want=8)) == others


def test_one_worker_becomes_empty_for_tasks_that_waited_too_long(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second)
    (running,), (other,) = bench.claim("w"), bench.claim("v")
    waiting = suspects(bench, 2)
    bench.enqueue(*(more := new_ids(2)))
    assert ids_of(bench.step("w", want=1, busy=True).claims) == more[:1]
    bench.wait_long(*waiting)
    answer = bench.step("v", want=7, busy=True)
    assert (answer.claims, answer.reserved) == ((), True)
    assert ids_of(bench.step("w", want=7, busy=True).claims) == more[1:], "only one does it"
    assert bench.step("v", want=7, busy=True).reserved, "it goes on"
    assert ids_of(end(bench, other, "v", want=8)) == waiting[:1]
    assert bench.inspector.read().quiet == (0, "")
    assert running.task_id == first


def test_a_quiet_worker_claims_again_where_others_run_what_has_waited(bench: Bench) -> None:
    bench.enqueue(*new_ids(1))
    (running,) = bench.claim("w")
    waiting = suspects(bench, 2)
    bench.wait_long(*waiting)
    assert bench.step("w", want=7, busy=True).reserved
    assert ids_of(bench.claim("v", want=8)) == waiting[:1]
    bench.enqueue(*(more := new_ids(1)))
    assert ids_of(end(bench, running, "w", want=8)) == more, "enough workers run tasks alone"
    until, worker = bench.inspector.read().quiet
    assert (until > 0, worker) == (True, "")
    answer = bench.step("w", want=7, busy=True)
    assert not answer.reserved, "and it does not stop again at once"


def test_a_step_of_a_reserved_worker_may_be_sent_again(bench: Bench) -> None:
    task, _ = suspects(bench, 2)
    first = bench.step("w", want=8, nonce="again")
    before = bench.contents()
    again = bench.step("w", want=8, nonce="again")
    assert (ids_of(again.claims), again.reserved) == ([task], True) == (ids_of(first.claims), first.reserved)
    assert bench.contents() == before


def test_a_suspect_whose_payload_is_lost_is_dropped(over_redis: RedisInspector) -> None:
    bench = Bench(over_redis)
    first, second = suspects(bench, 2)
    over_redis.queue.client.hdel(over_redis.queue.keys.job, str(first))
    over_redis.queue.client.hdel(over_redis.queue.keys.suspect, str(first))
    assert ids_of(bench.queue.step(StepRequest(worker="w", nonce="n", want=8)).claims) == [second]
