"""A builder of literal histories: `HistoryBuilder().enqueued(1).ran(1, by=12).recorded(1)`.

Times are seconds. Each method advances the clock by a millisecond; `at` sets it. Task 1 has the activity `a1`.
"""

from __future__ import annotations

from typing import Any, Self

from harness.history import History, InjectionKind, Operation, OperationType
from harness.history.promises import Promises

INVOKE, OK, FAIL, INFO = OperationType.INVOKE, OperationType.OK, OperationType.FAIL, OperationType.INFO
TICK = 1_000_000


class HistoryBuilder:
    """A history under construction."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.problems: list[str] = []
        self.now = 0
        self.faults = 0
        self.locks: dict[int, str] = {}

    @classmethod
    def of(cls, other: Self) -> Self:
        """A copy that goes on where the other one stands."""
        builder = cls()
        builder.operations, builder.now, builder.faults = [*other.operations], other.now, other.faults
        return builder

    @property
    def history(self) -> History:
        return History.of(self.operations, self.problems)

    def at(self, seconds: float) -> Self:
        self.now = round(seconds * 1e9)
        return self

    def op(self, process: str, kind: OperationType, f: str, /, **value: Any) -> Self:
        self.operations.append(Operation(time=self.now, process=process, type=kind, f=f, value=value))
        self.now += TICK
        return self

    def enqueued(self, *tasks: int, outcome: OperationType | None = OK) -> Self:
        for task in tasks:
            more = {"lock": self.locks[task]} if task in self.locks else {}
            self.op("client", INVOKE, "enqueue", task=task, **more)
            if outcome is OK:
                self.op("client", OK, "enqueue", task=task, activity=f"a{task}")
            elif outcome is not None:
                self.op("client", outcome, "enqueue", task=task)
        return self

    def began(self, task: int, *, by: int, fence: int | None = 1) -> Self:
        return self._run(INVOKE, task, by, fence)

    def ended(self, task: int, *, by: int, fence: int | None = 1, outcome: OperationType = OK) -> Self:
        return self._run(outcome, task, by, fence)

    def ran(self, *tasks: int, by: int, fence: int | None = 1) -> Self:
        for task in tasks:
            self.began(task, by=by, fence=fence).ended(task, by=by, fence=fence)
        return self

    def _run(self, kind: OperationType, task: int, pid: int, fence: int | None) -> Self:
        more = {"lock": self.locks[task]} if task in self.locks else {}
        return self.op(
            f"worker-{pid}", kind, "run", task=task, activity=f"a{task}", fence=fence, pid=pid, **more
        )

    def locked(self, key: str, *tasks: int) -> Self:
        """From here on these tasks are submitted and run under this lock key."""
        self.locks |= dict.fromkeys(tasks, key)
        return self

    def effect(self, task: int, *, by: int, fence: int = 1, outcome: OperationType = OK) -> Self:
        return self.op(f"worker-{by}", outcome, "effect", task=task, activity=f"a{task}", fence=fence)

    def reported(self, task: int, *percentages: int, by: int = 12, fence: int = 1) -> Self:
        for percentage in percentages:
            value = {"task": task, "activity": f"a{task}", "fence": fence, "percentage": percentage}
            self.op(f"worker-{by}", INFO, "report", **value)
        return self

    def killed(self, *pids: int, fault: str = "kill-worker") -> Self:
        return self.injected(fault, InjectionKind.KILL, pids=list(pids))

    def injected(
        self,
        f: str,
        kind: InjectionKind = InjectionKind.PAUSE,
        *,
        type: OperationType = INFO,
        phase: str = "inject",
        **value: Any,
    ) -> Self:
        self.faults += 1
        return self.op("nemesis", type, f, fault=self.faults, phase=phase, kind=kind, **value)

    def sigterm(self, *workers: int, parent: int = 1, **value: Any) -> Self:
        return self.injected(
            "sigterm", InjectionKind.STOP, pool="pool-1", pid=parent, pids=list(workers), **value
        )

    def exited(self, *, parent: int = 1, code: int = 0) -> Self:
        return self.op("pool-1", INFO, "exit", pid=parent, code=code)

    def recorded(
        self, *tasks: int, status: str = "complete", fence: int | None = 1, activity: str = ""
    ) -> Self:
        for task in tasks:
            known = activity or f"a{task}"
            self.op(
                "postgres", INFO, "record", task=task, activity=known, status=status, attempt=1, fence=fence
            )
        return self

    def logged(self, task: int, *rows: tuple[str, int, int] | tuple[str, int, int, int]) -> Self:
        """Rows of the store's log as (status, fence, n), or with a percentage after it."""
        for status, fence, n, *percentage in rows:
            value: dict[str, Any] = {
                "task": task,
                "activity": f"a{task}",
                "fence": fence,
                "n": n,
                "status": status,
            }
            self.op("postgres", INFO, "transition", **value, percentage=percentage[0] if percentage else None)
        return self

    def queue(
        self,
        *,
        ready: int = 0,
        leased: int = 0,
        scheduled: int = 0,
        dead: Any = 0,
        known: Any = 0,
        **more: Any,
    ) -> Self:
        held = {"ready": ready, "leased": leased, "scheduled": scheduled, "dead": dead, "known": known}
        return self.op("redis", INFO, "queue", **held, **more)

    def broke_down(self, why: str) -> Self:
        return self.op("runner", INFO, "breakdown", why=why)

    def phase(self, name: str, outcome: OperationType | None = OK) -> Self:
        """A phase of the run that began, and ended unless the outcome is None."""
        self.op("runner", INVOKE, "phase", phase=name)
        return self if outcome is None else self.op("runner", outcome, "phase", phase=name)

    def drained(self, *, unfinished: int = 0, patience: float = 5.0, quiet: float = 5.0) -> Self:
        """A drain that ended after `quiet` seconds without any change, and the rest of the run."""
        self.op("runner", INFO, "drain", unfinished=unfinished, patience=patience, quiet=quiet)
        return self.phase("the drain").phase("stopping the pools").phase("collecting the evidence")

    def promised(self, promises: Promises) -> Self:
        return self.op("runner", INFO, "promises", **promises.to_value())

    def machine(self, *, spin: float = 1.0, delay: float = 0.0, load: float = 0.5) -> Self:
        return self.op("machine", INFO, "machine", load=load, spin=spin, delay=delay)

    def slow_machine(self, start: float, end: float, *, spin: float = 1.0, delay: float = 0.0) -> Self:
        """A sample for each half second between two times; the clock stands where it stood before."""
        now = self.now
        for half in range(round(start * 2), round(end * 2) + 1):
            self.at(half / 2).machine(spin=spin, delay=delay)
        self.now = now
        return self


def completed(builder: HistoryBuilder, *tasks: int, by: int = 12) -> HistoryBuilder:
    """Each task runs once and completes, with the log that belongs to it."""
    builder.ran(*tasks, by=by).recorded(*tasks)
    for task in tasks:
        builder.logged(task, ("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1))
    return builder
