"""Invariant I2 of the queue, on whatever backend."""

from __future__ import annotations

from agentexec.queue.protocol import Queue
from agentexec.queue.redis_queue import RedisQueue
from harness.simulation.queue.books import ALONE_AFTER
from tests.support.queue_contents import QueueContents, RedisInspector, contents_of


def require_consistent(queue: Queue) -> None:
    """Every known task is in exactly one place, and leases and holders agree; AssertionError if not."""
    require_consistent_books(contents_of(queue))


def require_consistent_books(books: QueueContents) -> None:
    """The same of what was read before."""
    parked = {task: partition for partition, line in books.parked.items() for task in line}
    members = [task for line in (*books.places.values(), *books.parked.values()) for task in line]
    leased, dead = books.places["lease"], books.places["dlq"]
    assert len(members) == len(set(members)), f"a task is in two places: {books.places}, parked {parked}"
    assert set(members) == books.known, f"places hold {set(members)}, the queue knows {books.known}"
    assert set(books.holders) == set(leased), f"holders {books.holders} and leases {leased} differ"
    assert set(books.reasons) == set(dead), "reasons are not those of the dead letters"
    assert set(books.crashes) <= books.known, "crashes are counted of a task that is gone"
    assert set(books.suspects) <= books.known, "deaths are noted of a task that is gone"
    alone = {task for task, (deaths, _) in books.suspects.items() if deaths >= ALONE_AFTER}
    assert set(books.places["alone"]) <= alone, f"runs alone for no reason: {books.places}"
    assert set(books.unknown) <= books.known, "a task that is gone was handed back"
    assert books.cancels <= books.known, "a task that is gone is to be canceled"
    partitions, heads = books.partitions, books.heads
    assert all(partitions.get(task) == partition for task, partition in parked.items()), (
        f"parked elsewhere: {parked}"
    )
    assert all(partitions.get(task) == partition for partition, task in heads.items()), (
        f"heads of others: {heads}"
    )
    assert set(books.parked) <= set(heads), "a parked task has no task before it"
    locked = [partitions[task] for task in leased if task in partitions]
    assert len(locked) == len(set(locked)), "two holders in one partition"


def contents(queue: RedisQueue) -> object:
    """Everything the queue holds, to be compared before and after what must change nothing."""
    return RedisInspector(queue).contents()
