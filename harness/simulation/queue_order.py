"""Watches which tasks a queue takes, in which order they wait, and in which order workers get them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from agentexec.queue.protocol import Dispatch, StepRequest
from harness.simulation.queue.books import Books

WATCHED = frozenset({"enqueue", "lock", "step", "release", "request_cancel"})
LOW_EVERY = 8
"""Of so many claims while tasks of both levels wait, one is from the low level."""


class QueueOrder:
    """The order of the ready tasks, and the room for new ones.

    A step claims no more than it wants, of each level the tasks in their order, and the high level before the low one,
    except for every eighth claim. A task that lost its lease goes back to the front of its level. A new task is refused
    if and only if the queue is full. What makes a task ready wakes an idle worker. Until a queue that lost its contents
    is rebuilt, only the reconciler gives it lock keys.
    """

    def __init__(self, max_depth: int = 0) -> None:
        """`max_depth` is the number of tasks that the queue takes; 0 for any number."""
        self._max_depth = max_depth
        self._ready: Sequence[Sequence[UUID]] = ()
        self._held: Collection[UUID] = ()
        self._known: Collection[UUID] = ()
        self._depth = 0
        self._since_low = (
            LOW_EVERY  # claims since the last one of the low level that passed tasks of the high one
        )
        self._passing = 0  # claims in a row that passed tasks of the low level

    def before(self, books: Books) -> None:
        """Note where the tasks are before a call that is watched."""
        self._ready, self._held = [tuple(line) for line in books.ready], set(books.holder)
        self._known, self._depth = set(books.job), _depth(books)

    def after(
        self, call: str, books: Books, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> Iterator[str]:
        """What is wrong after a call that is watched and was not sent again, a sentence each."""
        ended: Collection[UUID] = ()
        if call == "step":
            ended = [finish.task_id for finish in arguments[0].finishes]
            yield from self._after_step(books, arguments[0])
        if call == "enqueue" and not options.get("from_reconciler"):
            yield from self._after_enqueue(books, arguments[0])
        if call == "lock" and books.epoch is None:
            applied = [task for task, (token, _) in arguments[0].items() if books.holds(task, token)]
            yield from (f"{task} runs under a lock key before the queue is rebuilt" for task in applied)
        yield from self._places(books, ended)

    def _after_enqueue(self, books: Books, tasks: Sequence[Dispatch]) -> Iterator[str]:
        new = [task for task in tasks if task.task_id in books.job and task.task_id not in self._known]
        if books.epoch is None and any(task.lock_key is not None for task in new):
            yield "the queue takes a task with a lock key before it is rebuilt"
        depth, cap = _depth(books), self._max_depth
        if not cap:
            return
        if depth > max(cap, self._depth):
            yield f"the queue takes new tasks up to a depth of {depth}, and {cap} are allowed"
        refused = [task for task in tasks if task.task_id not in books.job]
        if depth < cap and any(task.lock_key is None or books.epoch is not None for task in refused):
            yield f"the queue refuses a task at a depth of {depth}, and {cap} are allowed"

    def _places(self, books: Books, ended: Collection[UUID]) -> Iterator[str]:
        for level, line in enumerate(books.ready):
            before, passed = self._ready[level], False
            for task in line:
                if books.job[task].level != level:
                    yield f"{task} of level {books.job[task].level} waits at level {level}"
                if task in before:
                    passed = True
                elif passed and task in self._held and task not in ended:
                    yield f"{task} lost its lease and waits behind others of its level"
            if not books.wake and any(task not in before for task in line):
                yield "a task became ready, and no idle worker is woken"

    def _after_step(self, books: Books, request: StepRequest) -> Iterator[str]:
        step = books.last.get(request.worker)
        if step is None:
            return
        if len(step.claims) > request.want:
            yield f"{request.worker} wants {request.want} tasks and claims {len(step.claims)}"
        if step.reserved is not None:
            return
        claimed = [task for task, _ in step.claims]
        self._since_low += len(claimed) < request.want  # the search that found none counts
        for before, now in zip(self._ready, books.ready, strict=True):
            left = next((task for task in before if task not in claimed), None)
            if left in now and any(task in claimed for task in before[before.index(left) :]):
                yield f"{request.worker} claims a task behind {left}, which is ready at the same level"
        high, low = bool(books.ready[0]), any(books.ready[1:])
        for task in claimed:
            yield from self._judged(is_low=books.job[task].level > 0, high=high, low=low)

    def _judged(self, *, is_low: bool, high: bool, low: bool) -> Iterator[str]:
        """Judge a claim; `high` and `low`: whether tasks of this level are left after it."""
        self._since_low += 1
        if is_low and high:
            if self._since_low < LOW_EVERY:
                yield f"the last {self._since_low + 1} claims have two of the low level, and tasks of the high one wait"
            self._since_low = 0
        self._passing = self._passing + 1 if low and not is_low else 0
        if self._passing >= LOW_EVERY:
            yield f"{self._passing} claims in a row pass the tasks of the low level"


def _depth(books: Books) -> int:
    """The number of tasks that take room."""
    return len(books.job) - len(books.dlq)
