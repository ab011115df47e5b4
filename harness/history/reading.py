"""How every checker reads a history: which task, which run, which worker was killed when.

An operation that lacks what its kind must carry raises `ValueError`; the checker that met it is then UNKNOWN and says
so, because a judge that skips evidence it cannot read would call a broken recording VALID.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from math import ceil
from typing import NamedTuple

from harness.history import History, Operation, OperationType

NANOSECONDS = 1e9
NEMESIS = "nemesis"
SIGTERM = "sigterm"
KILL = "kill-"
"""How the name of a fault begins that kills the processes of its `pids`; all others leave them alive."""


QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}


def nearest_rank(ordered: Sequence[float], quantile: float) -> float:
    """The smallest value that at least that share of the values does not exceed (nearest-rank, no interpolation)."""
    return ordered[max(ceil(quantile * len(ordered)), 1) - 1]


def quantiles(values: Iterable[float]) -> Mapping[str, float | None]:
    """p50, p95, p99 and max of the values, each None where there is none."""
    ordered = sorted(values)
    return {name: nearest_rank(ordered, q) if ordered else None for name, q in QUANTILES.items()}


def seconds(nanoseconds: int) -> float:
    """A length of time in seconds."""
    return nanoseconds / NANOSECONDS


def task_of(operation: Operation) -> int:
    """The number of the task; raises `ValueError` where the operation carries none."""
    found = operation.value.get("task")
    return found if type(found) is int else whole(operation, "task")


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
    return found if found is None or type(found) is str else str(found)


def subject_of(operation: Operation) -> str:
    """What fences and logs belong to: the activity, or the task where no activity is known."""
    found = operation.value.get("activity")
    if type(found) is str and found:  # nearly always, and asked a million times
        return found
    return activity_of(operation) or f"task {task_of(operation)}"


class Run(NamedTuple):
    """One execution of a handler: where it began and, where that is known, how it ended.

    `subject` is what its fence belongs to, `fence` is None where the target has none.
    """

    task: int
    subject: str
    fence: int | None
    begun: Operation
    ended: Operation | None

    @property
    def process(self) -> str:
        """The process that ran it, `worker-PID`."""
        return self.begun.process

    @property
    def finished(self) -> bool:
        """The handler returned."""
        return self.ended is not None and self.ended.type is OperationType.OK


def runs(history: History) -> Sequence[Run]:
    """Every run in order of its beginning. An outcome without a beginning belongs to none."""
    return history.derive(_runs)


def _runs(history: History) -> Sequence[Run]:
    first: list[tuple[int, Operation]] = []
    ended: list[Operation | None] = []
    open_at: dict[tuple[str, int, object], int] = {}
    for operation in history.where("run"):
        task = task_of(operation)
        key = (operation.process, task, operation.value.get("fence"))
        if operation.type is OperationType.INVOKE:
            open_at[key] = len(first)
            first.append((task, operation))
            ended.append(None)
        elif (index := open_at.pop(key, None)) is not None:
            ended[index] = operation
    return [
        Run(task, subject_of(one), _fence(one), one, last)
        for (task, one), last in zip(first, ended, strict=True)
    ]


def _fence(operation: Operation) -> int | None:
    return None if operation.value.get("fence") is None else whole(operation, "fence")


def begun(history: History) -> Counter[int]:
    """How often a handler began, by task."""
    return history.derive(_begun)


def returned(history: History) -> Counter[int]:
    """How often a handler returned, by task; whatever it had begun as."""
    return history.derive(_returned)


def _begun(history: History) -> Counter[int]:
    return Counter(map(task_of, history.where("run", OperationType.INVOKE)))


def _returned(history: History) -> Counter[int]:
    return Counter(map(task_of, history.where("run", OperationType.OK)))


def injections(history: History) -> Sequence[Operation]:
    """The operations by which the nemesis hurt something, in order; no healing, and no fault that `fail`ed."""
    return history.derive(_injections)


def _injections(history: History) -> Sequence[Operation]:
    logged = [op for op in history.by_process(NEMESIS) if op.value.get("phase") == "inject"]
    failed = {op.value.get("fault") for op in logged if op.type is OperationType.FAIL}
    return [op for op in logged if op.value.get("fault") not in failed]


def fault_windows(history: History) -> Sequence[tuple[int, int]]:
    """When something was broken: spans of time (nanoseconds) in order, none of which touches the next.

    A window opens with the injection of a fault and closes when that was healed; without a repair in the history it
    lasts the fault's own `seconds`, or a moment.
    """
    return history.derive(_fault_windows)


def _fault_windows(history: History) -> Sequence[tuple[int, int]]:
    healed = {
        op.value.get("fault"): op.time
        for op in history.by_process(NEMESIS)
        if op.value.get("phase") == "heal"
    }
    windows: list[tuple[int, int]] = []
    for op in injections(history):
        lasted = op.value.get("seconds")
        own = op.time + round(lasted * NANOSECONDS) if isinstance(lasted, int | float) else op.time
        end = max(healed.get(op.value.get("fault"), own), op.time)
        if windows and op.time <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(end, windows[-1][1]))
        else:
            windows.append((op.time, end))
    return windows


def pids_of(injection: Operation) -> tuple[int, ...]:
    """The processes that a fault hit; empty for one that hit none."""
    return tuple(int(pid) for pid in injection.value.get("pids") or ())


def worker(pid: int) -> str:
    """The name under which the worker with this process id records."""
    return f"worker-{pid}"


def kills(history: History) -> Mapping[str, Operation]:
    """For each killed process, as the worker it may have been, the fault that killed it first."""
    return history.derive(_kills)


def _kills(history: History) -> Mapping[str, Operation]:
    killed: dict[str, Operation] = {}
    for injection in injections(history):
        if injection.f.startswith(KILL):
            for pid in pids_of(injection):
                killed.setdefault(worker(pid), injection)
    return killed


def killed_workers(history: History) -> Set[str]:
    """Killed processes that were workers: those that recorded something themselves."""
    return kills(history).keys() & history.derive(_writers)


def _writers(history: History) -> Set[str]:
    return {op.process for op in history}
