"""What the simulated server notices of single calls."""

from __future__ import annotations

import pytest

from agentexec.identifiers import new_id
from agentexec.queue.protocol import Dispatch, Disposition, Finish, QueuePolicy, Revocations, StepRequest
from harness.simulation.call_promises import CallPromises
from harness.simulation.queue import step
from harness.simulation.queue.books import Books, Step
from harness.simulation.queue.memory_queue import MemoryQueue
from tests.planted.edits import Edit, applied

MEMORY = f"{MemoryQueue.__module__}:MemoryQueue"
POP, CLAIM = f"{Books.__module__}:Books.pop", f"{step.__name__}:_claim"
STEP = Step(nonce="n", claims=(), accepted=(), expired=Revocations({}, {}))


def stepped(nonce: str) -> list[StepRequest]:
    return [StepRequest(worker="w", nonce=nonce)]


@pytest.mark.parametrize(("nonce", "changes", "found"), [("n", 1, 1), ("n", 0, 0), ("another", 1, 0)])
def test_only_a_step_that_is_sent_again_must_change_nothing(nonce: str, changes: int, found: int) -> None:
    promises, books = CallPromises(), Books(last={"w": STEP})
    before = promises.before("step", books, stepped(nonce))
    books.fence += changes
    promises.after("step", books, before, stepped(nonce), {})
    assert len(promises.findings) == found


@pytest.mark.parametrize(("name", "ends", "found"), [("late", True, 1), ("late", False, 0), ("now", True, 0)])
def test_the_end_of_a_rebuild_ends_no_other_one(name: str, ends: bool, found: int) -> None:
    promises, books = CallPromises(), Books(rebuilding="now")
    before = promises.before("end_rebuild", books, [name])
    if ends:
        books.epoch, books.rebuilding = name, None
    promises.after("end_rebuild", books, before, [name], {})
    assert promises.findings == ["I11: the end of another rebuild changed the queue"] * found


def test_a_worker_that_was_declared_gone_gets_no_answer_and_is_not_registered() -> None:
    promises, books = CallPromises(), Books(workers={"w": "host-0|1|1"})
    promises.after("register", books, promises.before("register", books, ["w"]), ["w"], {})
    promises.after("step", books, promises.before("step", books, stepped("n")), stepped("n"), {})
    assert promises.findings == []
    promises.after("release", books, None, ["w", None], {"declare_gone": True})
    promises.after("step", books, None, stepped("m"), {})
    promises.after("register", books, None, ["w"], {})
    assert promises.findings == [
        "I4: the queue answered w, which was declared gone",
        "I4: w is registered, and was declared gone",
    ]


def test_a_queue_that_lost_its_contents_knows_no_gone_worker() -> None:
    promises, books = CallPromises(), Books()
    promises.before("release", books, ["w"])
    promises.after("release", books, None, ["w", None], {"declare_gone": True})
    promises.before("step", Books(), stepped("n"))
    promises.after("step", Books(), None, stepped("n"), {})
    assert promises.findings == []


def claimed(promises: CallPromises, queue: MemoryQueue, want: int, nonce: str) -> list[str]:
    request = StepRequest(worker="w", nonce=nonce, want=want)
    before = promises.before("step", queue.books, [request])
    queue.step(request)
    promises.after("step", queue.books, before, [request], {})
    return promises.findings


def filled(high: int, low: int) -> MemoryQueue:
    queue = MemoryQueue(clock=lambda: 1000.0)
    queue.enqueue([Dispatch(task_id=new_id(), payload=b"", level=level) for level in [0] * high + [1] * low])
    return queue


@pytest.mark.parametrize("want", [1, 3, 20])
def test_claims_in_the_order_of_the_queue_are_no_finding(want: int) -> None:
    promises, queue = CallPromises(), filled(high=20, low=10)
    for number in range(30):
        assert claimed(promises, queue, want, f"n{number}") == []
    assert queue.depth().ready == 0


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (Edit(where=POP, old="ready.popleft()", new="ready.pop()"), "claims a task behind"),
        (Edit(where=POP, old="== 0", new="!= 0"), "have two of the low level"),
        (Edit(where=POP, old="== 0", new="< 0"), "8 claims in a row pass the tasks of the low level"),
        (Edit(where=CLAIM, old="turn % TURN", new="turn % 1"), "8 claims in a row pass"),
        (Edit(where=CLAIM, old="request.want", new="request.want + 1"), "wants 1 tasks and claims 2"),
    ],
)
def test_claims_in_another_order_are_found(edit: Edit, found: str) -> None:
    promises, queue = CallPromises(), filled(high=20, low=10)
    with applied([edit]):
        for number in range(20):
            claimed(promises, queue, 1, f"n{number}")
    assert found in promises.findings[0]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("if to_front:", "if not to_front:", "lost its lease and waits behind others of its level"),
        ("level = self.job[task_id].level", "level = 0", "of level 1 waits at level 0"),
    ],
)
def test_a_released_task_that_goes_back_to_another_place_is_found(old: str, new: str, found: str) -> None:
    promises, queue = CallPromises(), filled(high=0, low=3)
    claimed(promises, queue, 1, "n")
    before = promises.before("release", queue.books, ["w", None])
    with applied([Edit(where=f"{Books.__module__}:Books.admit", old=old, new=new)]):
        queue.release("w", None)
    promises.after("release", queue.books, before, ["w", None], {})
    assert [found in finding for finding in promises.findings] == [True]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (
            "0 < self.policy.max_depth <= depth",
            "False",
            "takes new tasks up to a depth of 4, and 2 are allowed",
        ),
        ("0 < self.policy.max_depth <= depth", "depth", "refuses a task at a depth of 1, and 2 are allowed"),
        ("self._wake(pushed)", "pass", "a task became ready, and no idle worker is woken"),
        ("", "", ""),
    ],
)
def test_a_full_queue_and_idle_workers_are_watched(old: str, new: str, found: str) -> None:
    promises = CallPromises(max_depth=2)
    queue = MemoryQueue(policy=QueuePolicy(max_depth=2), clock=lambda: 1000.0)
    tasks = [Dispatch(task_id=new_id(), payload=b"", level=0) for _ in range(4)]
    before = promises.before("enqueue", queue.books, [tasks])
    with applied([Edit(where=f"{MEMORY}.enqueue", old=old, new=new)] if old else []):
        queue.enqueue(tasks)
    promises.after("enqueue", queue.books, before, [tasks], {})
    assert [found in finding for finding in promises.findings] == [True] * bool(found)


def test_a_queue_that_is_not_rebuilt_applies_no_lock_key() -> None:
    promises, queue = CallPromises(), filled(high=1, low=0)
    (claim,) = queue.step(StepRequest(worker="w", nonce="n", want=1)).claims
    locked = [Dispatch(task_id=new_id(), payload=b"", level=0, lock_key="a")]
    for call, edit in (
        ("lock", Edit(where=f"{MEMORY}.lock", old="books.epoch is None", new="False")),
        (
            "enqueue",
            Edit(where=f"{MEMORY}.enqueue", old="from_reconciler or books.epoch is not None", new="True"),
        ),
    ):
        argument = locked if call == "enqueue" else {claim.task_id: (claim.token, "a")}
        before = promises.before(call, queue.books, [argument])
        with applied([edit]):
            getattr(queue, call)(argument)
        promises.after(call, queue.books, before, [argument], {})
    assert ["before the queue is rebuilt" in promises.findings[0], promises.findings[1:]] == [
        True,
        ["order: the queue takes a task with a lock key before it is rebuilt"],
    ]


@pytest.mark.parametrize(("told", "found"), [("not accepted", 0), ("accepted", 1)])
def test_an_answer_names_the_finishes_that_came_too_late(told: str, found: int) -> None:
    promises, queue = CallPromises(), filled(high=2, low=0)
    claims = queue.step(StepRequest(worker="w", nonce="n", want=2)).claims
    ends = [
        Finish(task_id=c.task_id, token=c.token + i, disposition=Disposition.ACK)
        for i, c in enumerate(claims)
    ]
    request = StepRequest(worker="w", nonce="m", finishes=ends)
    before = promises.before("step", queue.books, [request])
    with applied([Edit(where=f"{step.__name__}:reply", old="if not accepted", new=f"if {told}")]):
        answer = queue.step(request)
    promises.after("step", queue.books, before, [request], {}, answer=answer)
    assert len(promises.findings) == found


@pytest.mark.parametrize(
    ("old", "new", "found"), [("entries - ", "entries - ", 0), ("entries - ", "entries and ", 1)]
)
def test_names_that_are_announced_again_change_nothing(old: str, new: str, found: int) -> None:
    now = iter(range(1000, 2000))
    promises, queue = CallPromises(), MemoryQueue(clock=lambda: next(now))
    with applied([Edit(where=f"{MEMORY}.announce", old=old, new=new)]):
        for names in ({"a": "1"}, {"a": "2", "b": "1"}, {"b": "1"}):
            before = promises.before("announce", queue.books, [names])
            queue.announce(names)
            promises.after("announce", queue.books, before, [names], {})
    assert len(promises.findings) == found
