"""Which cells a run reaches: a fault, the call that it strikes, and the state of the tasks that the call concerns.

A cell is the abstraction by which a campaign counts what it has tried. Two strikes of one kind at one side of one call
are in the same cell if the task has the same status in its record, the same place in the queue, and a lease in the same
condition, and if the queue is or is not under rebuild.

Some cells are so rare that no campaign reaches all of them. So a cell is also in two groups, which a campaign can
exhaust: what the fault does to which side of which call, and in which stage of a task the fault strikes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from agentexec.queue.protocol import StepRequest
from agentexec.store.dialects import run
from agentexec.store.status import TERMINAL, Status
from harness.simulation.call_faults import StruckCall
from harness.simulation.plan import FaultKind
from harness.simulation.queue.books import Books
from harness.simulation.queue_probes import place
from harness.simulation.redis_server import RedisServer
from harness.simulation.scheduler import Process
from harness.simulation.stores import Store

# What a fault does to the call that it strikes.
_EFFECTS = {
    FaultKind.KILL_WORKER: "stopped",
    FaultKind.KILL_PARENT: "stopped",
    FaultKind.KILL_PRODUCER: "stopped",
    FaultKind.STALL_WORKER: "stopped",
    FaultKind.FREEZE_HOST: "stopped",
    FaultKind.LOSE_REQUEST: "request lost",
    FaultKind.LATE_REQUEST: "request late",
    FaultKind.LOSE_REPLY: "reply lost",
    FaultKind.PRODUCER_LOSES_REPLY: "reply lost",
}


class ReachedCells:
    """The `cells` of one run, and the `groups` of these. It changes nothing and draws no random number."""

    def __init__(self, redis: RedisServer, postgres: Store) -> None:
        self._redis = redis
        self._postgres = postgres
        self.cells: set[str] = set()
        self.groups: set[str] = set()

    def at_call(self, fault: FaultKind, struck: StruckCall) -> None:
        """A fault strikes at one side of a call: the tasks that it names, or else those that its process holds."""
        books, (point, request) = self._redis.memory.books, struck
        worker = self._redis.probes.worker_of(point.process)
        tasks = _named(request.arguments, books) or [task for task, _ in books.held_by(worker or "")]
        side = "after" if point.after else "before"
        name = "+".join(dict.fromkeys(point.calls)) or request.name
        self._add(fault, f"{side} {name} of {_role(point.process)}", tasks, worker)

    def at_moment(self, fault: FaultKind, task: UUID | None) -> None:
        """A fault strikes a server, a whole pool, or this task: the task, or else all that are not over."""
        self._add(fault, "at any moment", None if task is None else [task], None)

    def _add(self, fault: FaultKind, call: str, tasks: Iterable[UUID] | None, worker: str | None) -> None:
        books, status = self._redis.memory.books, self._statuses()
        if tasks is None:
            waiting = (UUID(row) for row, one in status.items() if one not in TERMINAL)
            tasks = [*books.job, *(task for task in waiting if task not in books.job)]
        rebuild = ", in rebuild" if books.epoch is None else ""
        states = {self._state(books, task, status.get(task.hex, "no record"), worker) for task in tasks}
        self.groups.add(f"{_EFFECTS.get(fault, fault.value)}, {call}")
        for state, stage in states or {("no task", "no task")}:
            self.cells.add(f"{fault.value}, {call}: {state}{rebuild}")
            self.groups.add(f"{fault.value}: {stage}{rebuild}")

    def _state(self, books: Books, task: UUID, status: str, worker: str | None) -> tuple[str, str]:
        """The state of a task, and its stage."""
        found = place(books, task)
        stage = _stage(status, found, rebuild=books.epoch is None)
        if found != "leased":
            return f"{status}, {found}", stage
        expired = self._redis.probes.is_expired(books, task)
        other = worker is not None and books.holder[task].worker != worker
        lease = f"lease {'expired' if expired else 'live'}{' of another' if other else ''}"
        return f"{status}, {lease}", "lease lost" if (expired or other) and books.epoch else stage

    def _statuses(self) -> Mapping[str, str]:
        """The statuses by the hexadecimal text of the ids, which SQLite has as that text."""
        with self._postgres.transaction() as connection:
            rows = cast(Iterable[tuple[Any, str]], run(connection, "SELECT id, status FROM {activity}"))
            return {getattr(row, "hex", row): status for row, status in rows}


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


def _stage(status: str, found: str, *, rebuild: bool) -> str:
    """How far a task is, and whether the record and the queue agree on that: `found` is its place in the queue."""
    if status in TERMINAL:
        return "over" if rebuild or found in ("unknown", "dead") else "over in the record only"
    if found == "unknown":
        return "in the record only"
    if rebuild:
        return "in the queue"
    if status == Status.RUNNING:
        return "running" if found == "leased" else "revoked in the queue only"
    return "claimed in the queue only" if found == "leased" else "waiting"


def _role(process: Process) -> str:
    return "worker" if "/" in process.name else process.name.rstrip("-0123456789")
