"""The queue of an eager block: one worker, no leases that expire, and no delay is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from agentexec.queue.protocol import (
    Admission,
    Claim,
    Dispatch,
    Disposition,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
    Tokens,
)

NONE = Revocations({}, {})


class EagerQueue:
    """The part of `agentexec.queue.protocol.Queue` that a client and a worker in one process use."""

    def __init__(self, name: str, policy: QueuePolicy) -> None:
        self.name = name
        self.policy = policy
        self.wake: Callable[[], None] = lambda: None  # called when there is something to claim or to cancel
        self._changed = threading.Condition()
        self._jobs: dict[UUID, Dispatch] = {}
        self._ready: list[UUID] = []
        self._tokens: dict[UUID, int] = {}  # of claimed tasks
        self._canceled: set[UUID] = set()
        self._results: dict[UUID, str | None] = {}
        self._last_token = 0
        self._trouble: BaseException | None = None

    def enqueue(self, tasks: Sequence[Dispatch], *, from_reconciler: bool = False) -> list[Admission]:  # noqa: ARG002 - as the protocol says
        """Add tasks; each is ready at once, whatever its delay."""
        with self._changed:
            new = [task for task in tasks if task.task_id not in self._jobs]
            self._jobs |= {task.task_id: task for task in new}
            self._ready += [task.task_id for task in new]
        self.wake()
        return [Admission.TAKEN] * len(tasks)

    def step(self, request: StepRequest) -> StepResult:
        """Finish and claim."""
        with self._changed:
            stale = tuple(f for f in request.finishes if self._tokens.get(f.task_id) != f.token)
            for finish in request.finishes:
                if finish in stale:
                    continue
                del self._tokens[finish.task_id]
                if finish.disposition is Disposition.RETRY:
                    self._ready.insert(0, finish.task_id)  # before other tasks with its lock key
                elif finish.disposition is Disposition.DEFER:
                    self._ready.append(finish.task_id)
                else:
                    del self._jobs[finish.task_id]
                    self._results[finish.task_id] = finish.result
            claims = [self._claim(i, request.lowest_token) for i in self._next(request.want)]
            self._changed.notify_all()
            canceled = frozenset(self._canceled & self._tokens.keys())
            return StepResult(
                claims=tuple(claims), stale=stale, expired=NONE, next_due=None, canceled=canceled
            )

    def _next(self, want: int) -> list[UUID]:
        """Up to `want` ready tasks by priority, at most one of each lock key that no claimed task has."""
        taken = {self._jobs[i].lock_key for i in self._tokens} - {None}
        found: list[UUID] = []
        for task_id in sorted(self._ready, key=lambda i: self._jobs[i].level):
            key = self._jobs[task_id].lock_key
            if len(found) < want and key not in taken:
                found.append(task_id)
                taken |= {key} - {None}
        return found

    def _claim(self, task_id: UUID, lowest_token: int) -> Claim:
        self._ready.remove(task_id)
        self._last_token = self._tokens[task_id] = max(self._last_token + 1, lowest_token)
        job = self._jobs[task_id]
        partitioned = job.lock_key is not None
        return Claim(task_id=task_id, token=self._last_token, payload=job.payload, partitioned=partitioned)

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:  # noqa: ARG002 - as the protocol says
        """Nothing: the client of an eager block knows every lock key."""
        return set(), set()

    def release(
        self,
        worker: str,  # noqa: ARG002 - as the protocol says
        leases: Tokens | None,
        *,
        charge: bool = False,  # noqa: ARG002
        declare_gone: bool = False,  # noqa: ARG002
    ) -> Revocations:
        """Give tasks back."""
        with self._changed:
            for task_id in list(self._tokens if leases is None else leases):
                if self._tokens.pop(task_id, None) is not None:
                    self._ready.insert(0, task_id)
        return NONE

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Stop claimed tasks, remove the others."""
        with self._changed:
            running = [task_id in self._tokens for task_id in task_ids]
            self._canceled.update(task_ids)
            for task_id in set(task_ids) & set(self._ready):
                self._ready.remove(task_id)
                del self._jobs[task_id]
            self._changed.notify_all()
        self.wake()
        return running

    def result(self, task_id: UUID) -> str | None:
        """The result of a task as JSON text."""
        return self._results.get(task_id)

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        """Whether the queue has each task."""
        return [task_id in self._jobs for task_id in task_ids]

    def fail(self, error: BaseException) -> None:
        """Let every caller of `wait_until_empty` raise this error."""
        with self._changed:
            self._trouble = error
            self._changed.notify_all()

    def wait_until_empty(self) -> None:
        """Wait until all tasks are over; raises what ended the worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._trouble is not None or not self._jobs)
            if self._trouble is not None:
                raise self._trouble
