"""A target that runs its tasks in the runner itself, and what a run of it needs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.environments.base import Endpoints, ServerVersions
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.history import InjectionKind, Operation, OperationType, Recorder
from harness.progress import Quiet
from harness.scenario import ScenarioRun
from harness.targets.base import Submission, TargetSettings, TaskSpec

WORKER = 4242424
"""A process id that no process has: the system under test runs its tasks in the runner itself."""


_SLEEP = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print(flush=True); signal.pause()"


class SleepingPool:
    """A parent process that sleeps until SIGTERM."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SLEEP], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        with self.process.stdout as ready:  # else SIGTERM could come before its handler is there
            ready.readline()
        self.pid = self.process.pid

    def worker_pids(self) -> list[int]:
        return [WORKER]

    def wait(self, timeout: float) -> int | None:
        return self.process.wait()

    def log(self) -> str:
        return ""


@dataclass
class Instant:
    """A target that runs each task at once when it is submitted, but for those in `forgets`."""

    forgets: frozenset[int] = frozenset()
    broken: Callable[[str], None] = lambda verb: None
    name: str = "instant"
    pools: list[SleepingPool] = field(default_factory=list)
    closed: bool = False

    def version(self) -> str:
        return "1"

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> Instant:
        self.broken("open")
        self.recorder = Recorder(settings.history / f"worker-{WORKER}.jsonl", process=f"worker-{WORKER}")
        self.tasks: list[TaskSpec] = []
        return self

    def start_pool(self) -> SleepingPool:
        self.broken("start_pool")
        self.pools.append(SleepingPool())
        return self.pools[-1]

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        self.broken("submit")
        for task in tasks:
            self.tasks.append(task)
            if task.number not in self.forgets:
                value: dict[str, Any] = {"task": task.number, "activity": f"a{task.number}", "fence": 1}
                self.recorder.record(OperationType.INVOKE, "run", **value)
                self.recorder.record(OperationType.OK, "run", **value)
        return [Submission(number=task.number, activity=f"a{task.number}") for task in tasks]

    def unfinished(self) -> int:
        self.broken("unfinished")
        return len(self.forgets & {task.number for task in self.tasks})

    def witnesses(self) -> Iterable[Operation]:
        self.broken("witnesses")
        for task in self.tasks:
            value: dict[str, Any] = {"task": task.number, "activity": f"a{task.number}"}
            forgotten = task.number in self.forgets
            yield _info("postgres", "transition", **value, fence=0, n=0, status="queued")
            yield _info("postgres", "transition", **value, fence=1, n=0, status="running")
            if not forgotten:
                yield _info("postgres", "transition", **value, fence=1, n=1, status="complete")
            yield _info("postgres", "record", **value, fence=1, status="running" if forgotten else "complete")
        yield _info("redis", "queue", ready=0, leased=0, scheduled=0, dead=0, known=0)

    def close(self) -> None:
        self.recorder.close()
        self.closed = True


def _info(process: str, f: str, **value: Any) -> Operation:
    return Operation(time=time.monotonic_ns(), process=process, type=OperationType.INFO, f=f, value=value)


@dataclass
class NoFault:
    """A fault without an effect that can fail or be interrupted in each step."""

    log: list[str] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)
    name: str = "no-fault"
    kind: InjectionKind = InjectionKind.OTHER
    at: float = 0.5
    gated: bool = False

    def _step(self, name: str) -> None:
        self.log.append(name)
        if name in self.fails:
            raise self.fails[name]

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        self._step("aim")
        return Aim(pids=(), pool=context.pools.running()[0])

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        self._step("inject")

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        self._step("heal")


@dataclass
class Nowhere:
    """An environment without servers."""

    folder: Path
    name: str = "nowhere"
    versions: ServerVersions = field(default=ServerVersions(postgres="none", redis="none"))
    endpoints: Endpoints = field(default=Endpoints(database_url="", redis_url=""))
    log: Iterator[str] = field(default_factory=lambda: iter(()))

    def logs(self, service: str) -> str:
        """The log of Postgres, another one at each call."""
        return next(self.log, "") if service == "postgres" else ""


class QuietMachine:
    """The gauge of a machine that keeps up, so that no verdict of these tests depends on the real one."""

    lost = 0.0

    def __init__(self, recorder: Recorder) -> None:
        pass

    def __enter__(self) -> QuietMachine:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Steps(Quiet):
    """Keeps each step."""

    def __init__(self, kept: list[str]) -> None:
        self._kept = kept

    def step(self, text: str) -> None:
        self._kept.append(text)


Run = Callable[..., ScenarioRun]


def breaking(broken: str, error: Exception) -> Callable[[str], None]:
    def breaks(verb: str) -> None:
        if verb == broken:
            raise error

    return breaks
