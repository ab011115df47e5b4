"""Which cells a run reaches: a fault, the call that it strikes, and the state of the tasks that the call concerns.

A cell is the abstraction by which a campaign counts what it has tried. Two strikes of one kind at one side of one call
are in the same cell if the task has the same status in its record, the same place in the queue, and a lease in the same
condition, and if the queue is or is not under rebuild.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from agentexec.queue.protocol import StepRequest
from agentexec.store.dialects import run
from agentexec.store.status import TERMINAL
from harness.simulation.call_faults import StruckCall
from harness.simulation.plan import FaultKind
from harness.simulation.postgres_server import PostgresServer
from harness.simulation.queue.books import Books
from harness.simulation.queue_probes import place
from harness.simulation.redis_server import RedisServer
from harness.simulation.scheduler import Process


class ReachedCells:
    """The cells of one run, in `cells`. It changes nothing and draws no random number."""

    def __init__(self, redis: RedisServer, postgres: PostgresServer) -> None:
        self._redis = redis
        self._postgres = postgres
        self.cells: set[str] = set()

    def at_call(self, fault: FaultKind, struck: StruckCall) -> None:
        """A fault strikes at one side of a call: the tasks that it names, or else those that its process holds."""
        books, (point, request) = self._redis.memory.books, struck
        worker = self._redis.probes.worker_of(point.process)
        tasks = _named(request.arguments, books) or [task for task, _ in books.held_by(worker or "")]
        side = "after" if point.after else "before"
        name = "+".join(dict.fromkeys(point.calls)) or request.name
        self._add(f"{fault.value}, {side} {name} of {_role(point.process)}", tasks, worker)

    def at_moment(self, fault: FaultKind, task: UUID | None) -> None:
        """A fault strikes a server, a whole pool, or this task: the task, or else all that are not over."""
        self._add(f"{fault.value}, at any moment", None if task is None else [task], None)

    def _add(self, struck: str, tasks: Iterable[UUID] | None, worker: str | None) -> None:
        books, status = self._redis.memory.books, self._statuses()
        if tasks is None:
            waiting = (UUID(row) for row, one in status.items() if one not in TERMINAL)
            tasks = [*books.job, *(task for task in waiting if task not in books.job)]
        rebuild = ", in rebuild" if books.epoch is None else ""
        states = {self._state(books, task, status.get(task.hex, "no record"), worker) for task in tasks}
        self.cells.update(f"{struck}: {state}{rebuild}" for state in states or {"no task"})

    def _state(self, books: Books, task: UUID, status: str, worker: str | None) -> str:
        found = place(books, task)
        if found != "leased":
            return f"{status}, {found}"
        expired = "expired" if self._redis.probes.is_expired(books, task) else "live"
        other = " of another" if worker is not None and books.holder[task].worker != worker else ""
        return f"{status}, lease {expired}{other}"

    def _statuses(self) -> Mapping[str, str]:
        """The statuses by the ids as SQLite has them."""
        with self._postgres.transaction() as connection:
            return dict(cast(Iterable[tuple[str, str]], run(connection, "SELECT id, status FROM {activity}")))


def _named(arguments: Sequence[Any], books: Books) -> Sequence[UUID]:
    """The tasks that a call of the queue names, by themselves or by their worker."""
    for argument in arguments:
        if isinstance(argument, StepRequest):
            return [finish.task_id for finish in argument.finishes]
        if isinstance(argument, Mapping | list | tuple):
            ids = [getattr(one, "task_id", one) for one in argument]
            return [one for one in ids if isinstance(one, UUID)]
        if isinstance(argument, str) and (held := books.held_by(argument)):
            return [task for task, _ in held]
    return []


def _role(process: Process) -> str:
    return "worker" if "/" in process.name else process.name.rstrip("-0123456789")
