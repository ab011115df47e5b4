"""What only the memory queue has: its own clock, results, and threads that wait in it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from agentexec.errors import WorkerGone
from agentexec.identifiers import new_id
from agentexec.queue.protocol import Dispatch, Disposition, Finish, QueuePolicy, StepRequest, StepResult
from harness.simulation.queue.books import KEEP_GONE_MS, Books, Ordered
from harness.simulation.queue.memory_queue import MemoryQueue

HOUR = 3600
NONE: Mapping[UUID, str] = MappingProxyType({})


class Clock:
    """Stands still until it is set; seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def step(queue: MemoryQueue, worker: str = "w", results: Mapping[UUID, str] = NONE) -> StepResult:
    finishes = [
        Finish(task_id=i, token=0, disposition=Disposition.ACK, result=text) for i, text in results.items()
    ]
    return queue.step(StepRequest(worker=worker, nonce=f"n{len(results)}", finishes=finishes))


def declare_gone(queue: MemoryQueue, worker: str) -> None:
    queue.release(worker, None, declare_gone=True)


def test_a_queue_has_the_name_that_it_was_given() -> None:
    assert (MemoryQueue().name, MemoryQueue("mail").name) == ("memory", "mail")


@pytest.mark.parametrize(("policy", "kept"), [(None, HOUR), (QueuePolicy(result_ttl_seconds=60), 60)])
def test_a_result_is_kept_for_its_time_and_not_a_millisecond_longer(
    policy: QueuePolicy | None, kept: int
) -> None:
    clock, task = Clock(), new_id()
    clock.now = 1000.0005  # results end with a whole millisecond
    queue = MemoryQueue(policy=policy, clock=clock)
    step(queue, results={task: "1"})
    for now, result in ((1000.0, "1"), (999.999 + kept, "1"), (1000.0 + kept, None)):
        clock.now = now
        assert queue.result(task) == result


def test_a_result_takes_no_other_away_and_what_has_none_has_none() -> None:
    queue, first, second = MemoryQueue(clock=Clock()), new_id(), new_id()
    step(queue, results={first: "1"})
    step(queue, results={second: "2"})
    assert [queue.result(task) for task in (first, second, new_id())] == ["1", "2", None]


def test_a_worker_that_is_gone_is_remembered_for_a_day() -> None:
    clock = Clock()
    queue = MemoryQueue(clock=clock)
    declare_gone(queue, "first")
    clock.now += KEEP_GONE_MS / 1000 - 0.001
    declare_gone(queue, "second")
    with pytest.raises(WorkerGone):
        step(queue, "first")
    clock.now += 0.001
    declare_gone(queue, "third")
    assert step(queue, "first").claims == ()


def test_a_queue_that_is_restored_knows_what_it_knew_then_and_nothing_else() -> None:
    queue, before, after = MemoryQueue(), new_id(), new_id()
    queue.enqueue([Dispatch(task_id=before, payload=b"", level=1)])
    books = queue.books.copied()
    queue.enqueue([Dispatch(task_id=after, payload=b"", level=1)])
    queue.restore(books)
    assert queue.known([before, after]) == [True, False]


def mutable(value: Any) -> list[Any]:
    """What can change in a field of the books."""
    match value:
        case Ordered():
            return [value, *vars(value).values()]
        case dict():
            return [value, *(inner for one in value.values() for inner in mutable(one))]
        case tuple():
            return [inner for one in value for inner in mutable(one)]
    return [value] if isinstance(value, set | deque) else []


def test_copied_books_have_the_same_contents_and_share_nothing_that_changes() -> None:
    books, task = Books(epoch="e"), new_id()
    books.ready[0].append(task)
    books.parked["key"].append(task)
    books.sched.add(task, 7)
    copied = books.copied()
    assert copied.parked["another"] == deque()
    for name in (one.name for one in fields(Books)):
        own, other = mutable(getattr(books, name)), mutable(getattr(copied, name))
        assert {id(one) for one in own}.isdisjoint(map(id, other)), name
    assert (copied.epoch, copied.ready, copied.sched.items()) == ("e", books.ready, [(7, task)])
    assert copied.parked["key"] == deque([task])


def test_a_worker_idles_only_without_a_wake_token() -> None:
    idled: list[float] = []
    queue = MemoryQueue(idle=idled.append)
    assert not queue.wait(7)
    queue.enqueue([Dispatch(task_id=new_id(), payload=b"", level=1)])
    assert queue.wait(8)
    assert idled == [7]


def test_a_thread_that_waits_is_woken_before_its_time() -> None:
    """In one round the token may be there before the thread waits for it; not in all of them."""
    queue, heard = MemoryQueue(), threading.Semaphore(0)

    def listen() -> None:
        for _ in range(50):
            if queue.wait(60):
                heard.release()

    threading.Thread(target=listen, daemon=True).start()
    for _ in range(50):
        queue.enqueue([Dispatch(task_id=new_id(), payload=b"", level=1)])
        assert heard.acquire(timeout=20)
