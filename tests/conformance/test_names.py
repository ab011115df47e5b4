"""Claims of tasks that this pool cannot run: they go back for other pools, on every queue."""

from __future__ import annotations

from uuid import UUID

import pytest

from agentexec.queue.protocol import Claim, Disposition, Finish
from tests.conformance.test_queue import Bench, ids_of, new_ids
from tests.support.queue_contents import Inspector
from tests.support.queue_invariants import require_consistent

LIMIT, DELAY = 600.0, 1.0
UNKNOWN, V1, V2 = "", "fingerprint 1", "fingerprint 2"


@pytest.fixture
def bench(inspector: Inspector) -> Bench:
    return Bench(inspector)


def hand_back(
    bench: Bench, *claims: Claim, fingerprint: str = UNKNOWN, name: str = "new", limit: float = LIMIT
) -> tuple[set[UUID], set[UUID]]:
    """Hand claims back; returns those that no other pool can run, and those whose token is lost."""
    answer = bench.queue.hand_back(
        {claim.task_id: (claim.token, name, fingerprint) for claim in claims}, limit=limit, delay=DELAY
    )
    require_consistent(bench.queue)
    return answer


def claimed(bench: Bench, *tasks: UUID, lock_key: str | None = None) -> list[Claim]:
    bench.enqueue(*tasks, lock_key=lock_key, from_reconciler=True)
    return bench.claim(want=len(tasks))


def test_a_task_that_is_not_known_here_falls_due_again(bench: Bench) -> None:
    (task,) = new_ids(1)
    (claim,) = claimed(bench, task)
    assert hand_back(bench, claim) == (set(), set())
    assert bench.claim() == []
    assert bench.crashes == {}
    bench.fall_due(task)
    (again,) = bench.claim("other")
    assert (again.task_id, again.payload) == (task, claim.payload)
    assert again.token > claim.token


@pytest.mark.invariant("I4")
@pytest.mark.invariant("I7")
def test_a_hand_back_that_is_sent_again_or_late_changes_nothing(bench: Bench) -> None:
    (task,) = new_ids(1)
    (claim,) = claimed(bench, task)
    hand_back(bench, claim)
    before = bench.contents()
    assert hand_back(bench, claim) == (set(), {task})
    assert bench.contents() == before
    bench.fall_due(task)
    bench.claim("other")
    assert hand_back(bench, claim) == (set(), {task})
    assert bench.queue.depth().leased == 1


def test_without_a_pool_that_knows_it_a_task_waits_for_the_limit_from_its_first_hand_back(
    bench: Bench,
) -> None:
    (task,) = new_ids(1)
    (claim,) = claimed(bench, task)
    hand_back(bench, claim)
    bench.inspector.age_names(590)
    bench.fall_due(task)
    (claim,) = bench.claim()
    assert hand_back(bench, claim) == (set(), set())
    bench.inspector.age_names(10)
    bench.fall_due(task)
    (claim,) = bench.claim()
    assert hand_back(bench, claim) == ({task}, set())
    assert bench.renew("w", claim) == (set(), set()), (
        "its lease is kept, so that its worker can record the end"
    )


def test_the_limit_counts_from_the_moment_at_which_a_pool_last_knew_the_name(bench: Bench) -> None:
    (task,) = new_ids(1)
    bench.queue.announce({"new": V1})
    (claim,) = claimed(bench, task)
    hand_back(bench, claim)
    bench.inspector.age_names(10_000)
    bench.queue.announce({"new": V1, "old": V1})
    bench.fall_due(task)
    (claim,) = bench.claim()
    assert hand_back(bench, claim) == (set(), set()), "a live pool knows it, and is busy"
    bench.inspector.age_names(600)
    bench.fall_due(task)
    (claim,) = bench.claim()
    assert hand_back(bench, claim) == ({task}, set())


def test_a_context_that_does_not_fit_waits_only_where_a_pool_has_another_model(bench: Bench) -> None:
    (task,) = new_ids(1)
    (claim,) = claimed(bench, task)
    assert hand_back(bench, claim, fingerprint=V1) == ({task}, set())
    bench.queue.announce({"new": V1, "other": V2})
    assert hand_back(bench, claim, fingerprint=V1) == ({task}, set()), "the only model is the own one"
    bench.queue.announce({"new": V2})
    assert hand_back(bench, claim, fingerprint=V1) == (set(), set())
    bench.inspector.age_names(600)
    bench.queue.announce({"new": V2})
    bench.fall_due(task)
    (claim,) = bench.claim()
    assert hand_back(bench, claim, fingerprint=V1) == ({task}, set()), "no model fits"


def test_a_task_that_no_pool_knows_comes_back_more_and_more_rarely(bench: Bench) -> None:
    (task,) = new_ids(1)
    waits = []
    (claim,) = claimed(bench, task)
    for _ in range(4):
        hand_back(bench, claim)
        waits.append(round(bench.step().next_due or 0))
        bench.inspector.age_names(20)
        bench.fall_due(task)
        (claim,) = bench.claim()
    assert waits[:2] == [1, 10]
    assert 20 <= waits[2] <= waits[3] == 30
    bench.queue.announce({"new": V1})
    hand_back(bench, claim)
    assert round(bench.step().next_due or 0) == 1, "a live pool knows it"


def test_tasks_that_come_back_are_first_again_in_their_order(bench: Bench) -> None:
    tasks = new_ids(3)
    hand_back(bench, *claimed(bench, *tasks))
    bench.enqueue(*(others := new_ids(2)))
    bench.fall_due(*tasks)
    assert ids_of(bench.claim("other", want=9)) == [*tasks, *others]


@pytest.mark.invariant("I11")
def test_a_task_that_goes_back_keeps_its_place_under_its_lock_key(bench: Bench) -> None:
    first, second = new_ids(2)
    (claim,) = claimed(bench, first, lock_key="k")
    bench.enqueue(second, lock_key="k")
    hand_back(bench, claim)
    assert bench.claim("other") == []
    bench.fall_due(first)
    assert ids_of(bench.claim("other", want=2)) == [first]


@pytest.mark.parametrize("how", list(Disposition))
def test_the_first_hand_back_is_forgotten_when_the_handler_ends(bench: Bench, how: Disposition) -> None:
    (task,) = new_ids(1)
    (claim,) = claimed(bench, task)
    hand_back(bench, claim)
    bench.fall_due(task)
    (claim,) = bench.claim()
    bench.step(finishes=[Finish(task_id=task, token=claim.token, disposition=how, reason="it failed")])
    kept = {str(task)} if how is Disposition.DEFER else set()
    assert set(bench.inspector.read().unknown) == kept


def test_pools_announce_what_they_know_and_workers_see_that_it_changed(bench: Bench) -> None:
    assert bench.step().names == ""
    bench.queue.announce({"a": V1, "b|c": V1})
    first = bench.step().names
    bench.queue.announce({"a": V1})
    assert bench.step().names == first != ""
    bench.inspector.age_names(1)
    bench.queue.announce({"a": V2})
    assert bench.queue.announced() == {"a": {V1, V2}, "b|c": {V1}}
    bench.queue.announce({})
    assert bench.step().names != ""


def test_what_no_pool_has_known_for_a_day_is_forgotten(bench: Bench) -> None:
    bench.queue.announce({"a": V1, "b": V1})
    bench.inspector.age_names(24 * 3600 + 1)
    bench.queue.announce({"a": V2})
    assert bench.queue.announced() == {"a": {V2}}


def test_a_limit_of_zero_hands_nothing_back(bench: Bench) -> None:
    (task,) = new_ids(1)
    assert hand_back(bench, *claimed(bench, task), limit=0) == ({task}, set())
    assert bench.queue.hand_back({}, limit=0, delay=0) == (set(), set())


def test_any_text_is_a_name(bench: Bench) -> None:
    (task,) = new_ids(1)
    assert hand_back(bench, *claimed(bench, task), name="\ud800|\x00\n") == (set(), set())
