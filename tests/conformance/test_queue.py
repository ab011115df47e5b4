"""The queue protocol on the memory queue and on every server that runs the scripts.

No test waits for time to pass: it makes a lease expire or a retry fall due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import pytest

from agentexec.errors import WorkerGone
from agentexec.identifiers import new_id
from agentexec.queue.protocol import (
    Admission,
    Claim,
    Dispatch,
    Disposition,
    Finish,
    QueueDepth,
    Revocations,
    StepRequest,
    StepResult,
)
from tests.support.queue_contents import Inspector, set_policy
from tests.support.queue_invariants import require_consistent

LEASE = 30.0
MAX_CRASHES = 2


class Bench:
    """The queue's methods with short defaults; invariant I2 holds after each of them."""

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self.queue = inspector.queue
        self.nonces = 0
        set_policy(self.queue, lease_seconds=LEASE, max_crashes=MAX_CRASHES)

    def enqueue(
        self,
        *ids: UUID,
        level: int = 1,
        delay: float = 0.0,
        max_depth: int = 0,
        lock_key: str | None = None,
        from_reconciler: bool = False,
    ) -> list[bool]:
        tasks = [
            Dispatch(task_id=i, payload=b"payload of " + i.bytes, level=level, delay=delay, lock_key=lock_key)
            for i in ids
        ]
        set_policy(self.queue, max_depth=max_depth)
        answers = self.queue.enqueue(tasks, from_reconciler=from_reconciler)
        require_consistent(self.queue)
        return [answer is Admission.TAKEN for answer in answers]

    def step(
        self,
        worker: str = "w",
        *,
        want: int = 0,
        finishes: Sequence[Finish] = (),
        nonce: str | None = None,
        lowest_token: int = 0,
        max_crashes: int = MAX_CRASHES,
        busy: bool = False,
    ) -> StepResult:
        self.nonces += 1
        set_policy(self.queue, max_crashes=max_crashes)
        request = StepRequest(
            worker=worker,
            nonce=nonce or f"nonce-{self.nonces}",
            finishes=finishes,
            want=want,
            lowest_token=lowest_token,
            busy=busy,
        )
        answer = self.queue.step(request)
        require_consistent(self.queue)
        return answer

    def claim(self, worker: str = "w", want: int = 1) -> list[Claim]:
        return list(self.step(worker, want=want).claims)

    def finish(
        self,
        claim: Claim,
        disposition: Disposition = Disposition.ACK,
        *,
        delay: float = 0.0,
        reason: str = "",
        result: str | None = None,
    ) -> bool:
        finish = Finish(
            task_id=claim.task_id,
            token=claim.token,
            disposition=disposition,
            delay=delay,
            reason=reason,
            result=result,
        )
        return not self.step(finishes=[finish]).stale

    def release(
        self,
        worker: str,
        leases: Mapping[UUID, int] | None = None,
        *,
        charge: bool = False,
        begun: bool = True,
        declare_gone: bool = False,
    ) -> Revocations:
        answer = self.queue.release(worker, leases, charge=charge, begun=begun, declare_gone=declare_gone)
        require_consistent(self.queue)
        return answer

    def renew(self, worker: str, claim: Claim) -> tuple[set[UUID], set[UUID]]:
        answer = self.queue.renew(worker, {claim.task_id: claim.token})
        require_consistent(self.queue)
        return answer

    def expire(self, *ids: UUID) -> None:
        """Let leases end in the order given."""
        self.inspector.expire(*ids)

    def fall_due(self, *ids: UUID) -> None:
        self.inspector.fall_due(*ids)

    def wait_long(self, *ids: UUID) -> None:
        """Let tasks have waited for a long time to run alone."""
        self.inspector.wait_long(*ids)

    @property
    def crashes(self) -> Mapping[str, int]:
        return self.inspector.read().crashes

    def contents(self) -> object:
        return self.inspector.contents()


@pytest.fixture
def bench(inspector: Inspector) -> Bench:
    return Bench(inspector)


def new_ids(count: int) -> list[UUID]:
    return sorted(new_id() for _ in range(count))


def ids_of(claims: Iterable[Claim]) -> list[UUID]:
    return [claim.task_id for claim in claims]


def test_what_was_enqueued_is_claimed_with_its_payload_and_level(bench: Bench) -> None:
    (task,) = new_ids(1)
    assert bench.enqueue(task, level=0) == [True]
    (claim,) = bench.claim()
    assert claim.task_id == task
    assert bench.crashes == {}
    assert claim.payload == b"payload of " + task.bytes


@pytest.mark.invariant("I7")
def test_enqueuing_a_known_task_again_changes_nothing(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second)
    bench.claim()
    before = bench.contents()
    assert bench.enqueue(first, second) == [True, True]
    assert bench.contents() == before


def test_enqueuing_nothing_needs_no_server(bench: Bench) -> None:
    assert bench.queue.enqueue([]) == []
    assert bench.queue.request_cancel([]) == []
    assert bench.queue.release("w", {}) == ({}, {})


def test_the_depth_cap_refuses_the_tail_of_a_batch_and_keeps_order(bench: Bench) -> None:
    tasks = new_ids(4)
    assert bench.enqueue(*tasks, max_depth=2) == [True, True, False, False]
    assert bench.enqueue(tasks[0], tasks[3], max_depth=2) == [True, False], "known tasks need no room"
    (claim,) = bench.claim()
    bench.finish(claim)
    assert bench.enqueue(*tasks[2:], max_depth=2) == [True, False], "room came back with the finish"


def test_what_a_rebuild_brings_back_needs_no_room(bench: Bench) -> None:
    first, second, third = new_ids(3)
    assert bench.enqueue(first, max_depth=1) == [True]
    assert bench.enqueue(second, max_depth=1, from_reconciler=True) == [True]
    assert bench.enqueue(third, max_depth=1) == [False]


def test_dead_letters_take_no_room_under_the_depth_cap(bench: Bench) -> None:
    """A running pool does not drain the dead letters, so they must not block other tasks for ever."""
    first, second = new_ids(2)
    bench.enqueue(first, max_depth=1)
    (claim,) = bench.claim()
    assert bench.finish(claim, Disposition.DEAD_LETTER, reason="failed for good")
    assert bench.enqueue(second, max_depth=1) == [True]


def test_high_goes_before_low_and_each_in_the_order_of_enqueue(bench: Bench) -> None:
    low, high = new_ids(3), new_ids(3)
    bench.enqueue(*low, level=1)
    bench.enqueue(*high, level=0)
    assert ids_of(bench.claim(want=6)) == [*high, *low]


def test_every_eighth_claim_is_made_from_the_low_end(bench: Bench) -> None:
    low, high = new_ids(4), new_ids(30)
    bench.enqueue(*low, level=1)
    bench.enqueue(*high, level=0)
    claims = [bench.claim()[0] for _ in range(8)] + bench.claim(want=16)
    assert [claim.task_id in low for claim in claims] == ([False] * 7 + [True]) * 3


def test_a_delayed_task_is_claimed_only_once_it_is_due(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task, delay=60)
    early = bench.step(want=1)
    assert early.claims == ()
    assert early.next_due == pytest.approx(60, abs=2)
    bench.fall_due(task)
    assert ids_of(bench.claim()) == [task]


def test_a_step_answers_when_the_next_task_or_lease_is_due(bench: Bench) -> None:
    assert bench.step().next_due is None
    (task,) = new_ids(1)
    bench.enqueue(task)
    assert bench.step(want=1).next_due == pytest.approx(LEASE, abs=2)


@pytest.mark.invariant("I7")
def test_a_step_sent_again_gives_the_same_reply_and_changes_nothing(bench: Bench) -> None:
    tasks = new_ids(4)
    bench.enqueue(*tasks)
    done, stale = bench.claim(want=2)
    bench.expire(stale.task_id)
    late = Finish(task_id=stale.task_id, token=stale.token - 1, disposition=Disposition.ACK)
    finishes = [Finish(task_id=done.task_id, token=done.token, disposition=Disposition.ACK), late]
    first = bench.step(want=2, finishes=finishes, nonce="again")
    assert first.stale == (late,)
    assert first.expired == ({stale.task_id: stale.token}, {})
    before = bench.contents()
    again = bench.step(want=2, finishes=finishes, nonce="again")
    assert (again.claims, again.stale, again.expired) == (first.claims, first.stale, first.expired)
    assert bench.contents() == before


def test_results_are_kept_for_their_time_and_readable_from_the_step_on(bench: Bench) -> None:
    done, unknown = new_ids(2)
    bench.enqueue(done)
    (claim,) = bench.claim()
    assert bench.finish(claim, result='{"a": 1}')
    assert (bench.queue.result(done), bench.queue.result(unknown)) == ('{"a": 1}', None)


def test_a_nonce_belongs_to_its_worker(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second)
    assert ids_of(bench.step("a", want=1, nonce="same").claims) == [first]
    assert ids_of(bench.step("b", want=1, nonce="same").claims) == [second]


def test_tokens_rise_with_every_claim_of_any_worker(bench: Bench) -> None:
    bench.enqueue(*new_ids(9))
    tokens = [c.token for n in range(3) for c in bench.claim(f"w{n}", want=3)]
    assert tokens == sorted(set(tokens))


@pytest.mark.invariant("I3")
def test_tokens_rise_also_after_the_queue_forgot_everything(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (before,) = bench.claim()
    bench.inspector.forget()
    bench.enqueue(task)
    (after,) = bench.claim()
    assert after.token > before.token


def test_tokens_rise_also_when_the_clock_of_redis_went_back(bench: Bench) -> None:
    """The record knows a higher token than the server's clock gives; the worker asks for more."""
    ahead = 2**52
    first, second = new_ids(2)
    bench.enqueue(first, second)
    assert bench.step(want=1, lowest_token=ahead).claims[0].token == ahead
    assert bench.claim()[0].token == ahead + 1, "and the queue remembers it"


@pytest.mark.invariant("I4")
def test_a_finish_with_a_lost_token_is_refused_and_changes_nothing(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (old,) = bench.claim("old")
    bench.expire(task)
    (new,) = bench.claim("new")
    for disposition in Disposition:
        assert not bench.finish(old, disposition)
    assert bench.queue.depth().leased == 1
    assert bench.finish(new)
    assert bench.queue.depth().known == 0


def test_a_finish_without_any_claim_is_refused(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    invented = Finish(task_id=task, token=0, disposition=Disposition.ACK)
    assert bench.step(finishes=[invented]).stale == (invented,)
    assert ids_of(bench.claim()) == [task]


@pytest.mark.invariant("I2")
def test_a_retry_is_claimed_again_after_its_delay_under_a_higher_token(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (first,) = bench.claim()
    assert bench.finish(first, Disposition.RETRY, delay=60)
    assert bench.claim() == []
    bench.fall_due(task)
    (second,) = bench.claim()
    assert second.token > first.token
    assert bench.crashes == {}, "a retry is no crash"
    assert second.payload == first.payload


def test_a_renewal_prolongs_only_a_lease_that_is_still_held(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (claim,) = bench.claim("w")
    bench.expire(task)
    assert bench.renew("w", claim) == (set(), set())
    assert bench.step("other", want=1).expired == ({}, {}), "the renewed lease is far from its end"


@pytest.mark.invariant("I4")
def test_a_renewal_never_steals_a_lease_back(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (old,) = bench.claim("old")
    bench.expire(task)
    bench.step("reaper")
    assert bench.renew("old", old) == ({task}, set()), "revoked, and without a holder"
    (new,) = bench.claim("new")
    before = bench.contents()
    assert bench.renew("old", old) == ({task}, set()), "revoked, and held by another worker"
    assert bench.contents() == before
    assert bench.finish(new)


def test_an_expired_lease_goes_back_to_the_front_and_counts_a_crash(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second)
    (claim,) = bench.claim("frozen")
    bench.expire(first)
    answer = bench.step("other", want=1)
    assert answer.expired == ({first: claim.token}, {})
    assert ids_of(answer.claims) == [first]
    assert bench.crashes == {str(first): 1}


def test_a_task_that_goes_back_keeps_its_priority(bench: Bench) -> None:
    low, high = new_ids(2)
    bench.enqueue(low, level=1)
    (claim,) = bench.claim("frozen")
    bench.enqueue(high, level=0)
    bench.expire(low)
    assert bench.step("other").expired == ({low: claim.token}, {})
    assert ids_of(bench.claim("other", want=2)) == [high, low]


def test_expired_leases_come_back_in_the_order_of_their_expiry(bench: Bench) -> None:
    tasks = new_ids(4)
    bench.enqueue(*tasks)
    bench.claim("frozen", want=3)
    bench.expire(tasks[1], tasks[0], tasks[2])
    assert ids_of(bench.claim("other", want=4)) == [tasks[1], tasks[0], tasks[2], tasks[3]]


@pytest.mark.invariant("I10")
def test_a_task_whose_workers_keep_dying_goes_to_the_dead_letters_with_a_reason(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    for crash in range(MAX_CRASHES + 1):
        (claim,) = bench.claim()
        assert bench.crashes.get(str(task), 0) == crash
        bench.expire(task)
    answer = bench.step(want=1)
    assert answer.claims == ()
    assert answer.expired == ({}, {task: claim.token})
    assert bench.queue.dead_reasons([task]) == {task: "its worker died 3 times while running it"}
    assert bench.queue.depth().dead == 1
    assert bench.enqueue(task) == [True], (
        "a dead letter is known, so a reconciler does not bring it back to life"
    )
    assert bench.claim() == []


@pytest.mark.invariant("I10")
def test_releases_count_as_crashes_only_when_they_are_charged(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    for _ in range(3 * MAX_CRASHES):
        (claim,) = bench.claim()
        assert bench.release("w") == ({task: claim.token}, {})
    for crash in range(MAX_CRASHES):
        (claim,) = bench.claim()
        assert bench.crashes.get(str(task), 0) == crash
        bench.release("w", charge=True)
    (claim,) = bench.claim()
    assert bench.release("w", charge=True) == ({}, {task: claim.token})
    assert bench.release("w", charge=True) == ({}, {}), "sent again, it finds nothing"


def test_a_release_gives_tasks_back_to_the_front_in_the_order_of_their_claims(bench: Bench) -> None:
    tasks = new_ids(5)
    bench.enqueue(tasks[3], tasks[1], tasks[2], tasks[0], tasks[4])
    claimed = bench.claim("w", want=4)
    bench.release("w")
    assert ids_of(bench.claim("v", want=5)) == [*ids_of(claimed), tasks[4]]


def test_named_leases_are_released_in_the_order_given_and_others_are_kept(bench: Bench) -> None:
    tasks = new_ids(3)
    bench.enqueue(*tasks)
    claims = bench.claim("w", want=3)
    named = {c.task_id: c.token for c in claims[:2]}
    released, dead = bench.release("w", named)
    assert (released, dead) == (named, {})
    assert bench.finish(claims[2])
    assert ids_of(bench.claim("v", want=3)) == tasks[:2]


def test_a_release_leaves_out_what_is_no_longer_the_workers(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (old,) = bench.claim("old")
    bench.expire(task)
    (new,) = bench.claim("new")
    assert bench.release("old") == ({}, {})
    assert bench.release("old", {task: old.token}) == ({}, {})
    assert bench.release("old", {task: new.token}) == ({}, {}), "not even with the other worker's token"
    assert bench.finish(new)


def test_a_late_release_does_not_end_a_newer_claim_of_the_same_worker(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (old,) = bench.claim("w")
    bench.expire(task)
    (new,) = bench.claim("w")
    assert bench.release("w", {task: old.token}) == ({}, {})
    assert bench.finish(new)


def test_a_workers_leases_are_not_those_of_a_worker_with_a_longer_name(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second)
    bench.claim("pool-1")
    bench.claim("pool-11")
    released, _ = bench.release("pool-1")
    assert list(released) == [first]


def test_a_worker_that_was_declared_gone_is_refused(bench: Bench) -> None:
    first, second = new_ids(2)
    bench.enqueue(first, second)
    (claim,) = bench.claim("ghost")
    bench.queue.register("ghost", "somewhere")
    bench.release("ghost", charge=True, declare_gone=True)
    assert bench.queue.registered() == {}
    before = bench.contents()
    with pytest.raises(WorkerGone, match="ghost"):
        bench.step(
            "ghost", want=1, finishes=[Finish(task_id=first, token=claim.token, disposition=Disposition.ACK)]
        )
    assert bench.renew("ghost", claim) == ({first}, set())
    assert bench.contents() == before, "its late step neither finished nor claimed"


def test_a_late_step_of_a_gone_worker_is_refused_even_with_its_last_nonce(bench: Bench) -> None:
    """The step was carried out, its reply was lost, the pool gave the worker up: it must not get those claims now."""
    (task,) = new_ids(1)
    bench.enqueue(task)
    bench.step("ghost", want=1, nonce="last")
    bench.release("ghost", declare_gone=True)
    with pytest.raises(WorkerGone):
        bench.step("ghost", want=1, nonce="last")
    assert ids_of(bench.claim("heir")) == [task]


def test_a_renewal_reports_canceled_tasks_to_their_holders(bench: Bench) -> None:
    held, waiting = new_ids(2)
    bench.enqueue(held, waiting)
    (claim,) = bench.claim("w")
    assert bench.queue.request_cancel([held, waiting, new_id()]) == [True, False, False]
    assert bench.renew("w", claim) == (set(), {held})
    assert bench.finish(claim)
    require_consistent(bench.queue)


def test_a_step_names_the_tasks_of_its_worker_that_are_to_be_canceled(bench: Bench) -> None:
    """A renewal comes every third of a lease only."""
    mine, others = new_ids(2)
    bench.enqueue(mine, others)
    assert ids_of(bench.claim("w", want=1)) == [mine]
    bench.claim("v", want=1)
    assert bench.step("w").canceled == set()
    bench.queue.request_cancel([mine, others])
    assert bench.step("w", nonce="again").canceled == {mine}
    assert bench.step("w", nonce="again").canceled == {mine}


def test_canceling_a_task_that_waits_removes_it_from_wherever_it_waits(bench: Bench) -> None:
    ready, delayed, retried, head, parked, late, dead, other = tasks = new_ids(8)
    bench.queue.begin_rebuild("one")
    bench.queue.end_rebuild("one")
    bench.enqueue(dead)
    (claim,) = bench.claim("w")
    bench.finish(claim, Disposition.DEAD_LETTER, reason="no handler")
    bench.enqueue(retried, lock_key="b")
    (claim,) = bench.claim("w")
    bench.finish(claim, Disposition.RETRY, delay=60)
    bench.enqueue(ready)
    bench.enqueue(delayed, delay=60, lock_key="a")
    bench.enqueue(head, parked, lock_key="a")
    bench.enqueue(late, lock_key="b")
    bench.enqueue(other)
    assert bench.queue.request_cancel([delayed, parked, ready, retried, dead]) == [False] * 5
    require_consistent(bench.queue)
    assert bench.queue.known(tasks) == [False, False, False, True, False, True, True, True]
    assert set(ids_of(bench.claim("w", want=9))) == {head, late, other}, "the next of a lock key moves up"
    bench.enqueue(ready)
    assert ids_of(bench.claim("w", want=9)) == [ready], "it stood in no list any longer"


def test_a_cancel_request_does_not_outlive_the_claim_it_was_meant_for(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.enqueue(task)
    (claim,) = bench.claim("w")
    bench.queue.request_cancel([task])
    bench.finish(claim, Disposition.RETRY)
    bench.fall_due(task)
    (again,) = bench.claim("w")
    assert bench.renew("w", again) == (set(), set())


def test_an_enqueue_wakes_an_idle_worker(bench: Bench) -> None:
    assert not bench.queue.wait(0.01)
    bench.enqueue(*new_ids(2))
    assert bench.queue.wait(5)
    assert bench.queue.wait(5)
    assert not bench.queue.wait(0.01)


def test_a_release_and_a_step_that_leaves_work_wake_an_idle_worker(bench: Bench) -> None:
    bench.enqueue(*new_ids(2))
    bench.inspector.silence()
    bench.claim("w", want=1)
    assert bench.queue.wait(5), "a task was left"
    bench.claim("w", want=1)
    bench.inspector.silence()
    bench.release("w")
    assert bench.queue.wait(5), "tasks came back"


def test_wake_tokens_do_not_pile_up_without_a_waiting_worker(bench: Bench) -> None:
    for _ in range(30):
        bench.enqueue(*new_ids(10))
    assert bench.inspector.read().wake == 64


def test_the_depth_is_counted_by_state(bench: Bench) -> None:
    tasks = new_ids(8)
    assert bench.queue.begin_rebuild("one") == "one", "a queue without an epoch takes no lock keys"
    bench.queue.end_rebuild("one")
    bench.enqueue(*tasks[:3])
    bench.enqueue(tasks[3], delay=60)
    bench.enqueue(*tasks[4:], lock_key="user:1")
    dead, _leased = bench.claim(want=2)
    bench.finish(dead, Disposition.DEAD_LETTER, reason="no handler")
    assert bench.queue.depth() == QueueDepth(ready=2, leased=1, scheduled=1, parked=3, dead=1, known=8)
    assert bench.queue.known([*tasks, new_id()]) == [True] * 8 + [False]


def test_the_loss_of_the_contents_is_noticed_once(bench: Bench) -> None:
    assert bench.queue.begin_rebuild("one") == "one"
    assert bench.queue.begin_rebuild("two") == "one", "all pools build the same epoch"
    assert bench.queue.end_rebuild("one")
    assert bench.queue.begin_rebuild("two") is None
    bench.inspector.forget()
    assert bench.queue.begin_rebuild("three") == "three"
    assert not bench.queue.end_rebuild("one"), "what was rebuilt before the loss proves nothing"


def test_the_end_of_the_contents_may_be_missing_on_another_server(bench: Bench) -> None:
    bench.queue.begin_rebuild("one")
    bench.queue.end_rebuild("one")
    bench.inspector.change_server()
    assert bench.queue.begin_rebuild("two") == "two"
    bench.inspector.change_server()
    assert bench.queue.begin_rebuild("three") == "three"
    assert not bench.queue.end_rebuild("two"), "its tasks may be missing again"
    assert bench.queue.end_rebuild("three")
    assert bench.queue.begin_rebuild("four") is None


def test_at_most_64_leases_are_reaped_and_64_tasks_promoted_at_once(bench: Bench) -> None:
    """A step is one atomic script: the server must not stand still while a large backlog is worked off."""
    leased, delayed = new_ids(70), new_ids(70)
    bench.enqueue(*leased)
    bench.claim("frozen", want=70)
    bench.enqueue(*delayed, delay=60)
    bench.expire(*leased)
    bench.fall_due(*delayed)
    answer = bench.step()
    assert (len(answer.expired.requeued), bench.queue.depth().ready) == (64, 128)
    answer = bench.step()
    assert (len(answer.expired.requeued), bench.queue.depth().ready) == (6, 140)


def test_a_pool_reads_the_settings_of_another_one(bench: Bench) -> None:
    assert bench.queue.agree({"max_crashes": "5", "lease_seconds": "30"}) == {}
    assert bench.queue.agree({"max_crashes": "5", "lease_seconds": "30"}) == {}
    assert bench.queue.agree({"max_crashes": "5", "lease_seconds": "60"}) == {"lease_seconds": "30"}
    bench.inspector.forget()
    assert bench.queue.agree({"max_crashes": "1"}) == {}


@pytest.mark.invariant("I10")
def test_the_agreed_number_of_crashes_holds_for_pools_that_are_set_otherwise(bench: Bench) -> None:
    """Otherwise a pool with a lower limit would dead-letter the tasks of the others."""
    reaped, released = new_ids(2)
    bench.queue.agree({"max_crashes": "1"})
    bench.enqueue(reaped, released)
    for task in reaped, released:
        assert ids_of(bench.claim(f"first of {task}")) == [task]
    bench.expire(reaped)
    assert bench.step(max_crashes=0).expired.dead == {}
    assert bench.release(f"first of {released}", charge=True).dead == {}
    holders = {bench.claim(worker)[0].task_id: worker for worker in ("second", "third")}
    bench.expire(reaped)
    assert list(bench.step(max_crashes=9).expired.dead) == [reaped]
    assert list(bench.release(holders[released], charge=True).dead) == [released]
