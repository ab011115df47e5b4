"""How every checker reads a history: which task, which run, which worker was killed when.

An operation that lacks what its kind must carry raises `ValueError`; the checker that met it is then UNKNOWN and says
so, because a judge that skips evidence it cannot read would call a broken recording VALID.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.history import History, Operation, OperationType

NANOSECONDS = 1e9
NEMESIS = "nemesis"
SIGTERM = "sigterm"
KILL = "kill-"
"""How the name of a fault begins that kills the processes of its `pids`; all others leave them alive."""


def seconds(nanoseconds: int) -> float:
    """A length of time in seconds."""
    return nanoseconds / NANOSECONDS


def task_of(operation: Operation) -> int:
    """The number of the task; raises `ValueError` where the operation carries none."""
    return whole(operation, "task")


def whole(operation: Operation, name: str) -> int:
    """A whole number that the operation must carry; raises `ValueError` where it does not."""
    found = operation.value.get(name)
    if type(found) is not int:
        raise ValueError(
            f"a {operation.f} operation of {operation.process} has {found!r} where the number {name!r} belongs; "
            "record it as a whole number"
        )
    return found


def activity_of(operation: Operation) -> str | None:
    """The system's own id of the task, None where the writer did not know it."""
    found = operation.value.get("activity")
    return None if found is None else str(found)


def subject_of(operation: Operation) -> str:
    """What fences and logs belong to: the activity, or the task where no activity is known."""
    return activity_of(operation) or f"task {task_of(operation)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One execution of a handler: where it began and, where that is known, how it ended."""

    begun: Operation
    ended: Operation | None

    @property
    def task(self) -> int:
        """The task's number."""
        return task_of(self.begun)

    @property
    def process(self) -> str:
        """The process that ran it, `worker-PID`."""
        return self.begun.process

    @property
    def finished(self) -> bool:
        """The handler returned."""
        return self.ended is not None and self.ended.type is OperationType.OK


def runs(history: History) -> list[Run]:
    """Every run in order of its beginning. An outcome without a beginning belongs to none."""
    begun: list[Operation] = []
    ended: list[Operation | None] = []
    open_at: dict[tuple[str, int, object], int] = {}
    for operation in history.where("run"):
        key = (operation.process, task_of(operation), operation.value.get("fence"))
        if operation.type is OperationType.INVOKE:
            open_at[key] = len(begun)
            begun.append(operation)
            ended.append(None)
        elif (index := open_at.pop(key, None)) is not None:
            ended[index] = operation
    return [Run(begun=first, ended=last) for first, last in zip(begun, ended, strict=True)]


def injections(history: History) -> Iterator[Operation]:
    """The operations by which the nemesis hurt something, in order; no healing, and no fault that `fail`ed."""
    logged = [op for op in history.by_process(NEMESIS) if op.value.get("phase") == "inject"]
    failed = {op.value.get("fault") for op in logged if op.type is OperationType.FAIL}
    return (op for op in logged if op.value.get("fault") not in failed)


def pids_of(injection: Operation) -> tuple[int, ...]:
    """The processes that a fault hit; empty for one that hit none."""
    return tuple(int(pid) for pid in injection.value.get("pids") or ())


def worker(pid: int) -> str:
    """The name under which the worker with this process id records."""
    return f"worker-{pid}"


def kills(history: History) -> dict[str, Operation]:
    """For each killed process, as the worker it may have been, the fault that killed it first."""
    killed: dict[str, Operation] = {}
    for injection in injections(history):
        if injection.f.startswith(KILL):
            for pid in pids_of(injection):
                killed.setdefault(worker(pid), injection)
    return killed


def killed_workers(history: History) -> set[str]:
    """Killed processes that were workers: those that recorded something themselves."""
    killed = kills(history)
    return {op.process for op in history if op.process in killed}
