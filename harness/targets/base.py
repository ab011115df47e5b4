"""The interface of a system under test.

A target starts worker pools, submits tasks, counts unfinished tasks, and at the end reports the content of its store
and queue. The harness finds a target by an entry point (`harness.targets`) or an import path `package.module:NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from harness.environments.base import Endpoints
from harness.history import Operation


class TaskFeature(StrEnum):
    """What the tasks of a target may do.

    FAILS: fail at first. DELAY: wait. CANCEL: be canceled; `cancel(activities)` of the session returns those that had
    not ended. KEY: be submitted again with an idempotency key.
    """

    FAILS = "fails"
    DELAY = "delay"
    CANCEL = "cancel"
    KEY = "key"


class OperatorAction(StrEnum):
    """What an operator does with tasks that have ended.

    CLEAN_UP: remove them, and keep their evidence. REQUEUE: run dead letters again. PURGE: delete dead letters.
    """

    CLEAN_UP = "clean-up"
    REQUEUE = "requeue"
    PURGE = "purge"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """One task of a workload: its number, the work of its handler in seconds, and its gate if it has one.

    Tasks with the same `lock` key must run one at a time; `priority` is `high` or `low`; only a pool of `version` 2 of
    the application can run a task of version 2. A target without these features ignores them, and the checkers report
    the result. `intended` is when the client of the run intended to submit the task, in nanoseconds of CLOCK_MONOTONIC;
    it is for the history alone. Four fields are only for targets whose `features` name them. The handler fails in its
    first `fails` attempts, the task may run `delay` seconds after its submission at the earliest, submissions with one
    `key` are one task, and the client cancels the task `cancel_after` seconds after the answer to its submission.
    """

    number: int
    work: float = 0.0
    gate: str | None = None
    lock: str | None = None
    priority: str | None = None
    version: int = 1
    intended: int | None = None
    fails: int = 0
    delay: float = 0.0
    key: str | None = None
    cancel_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSettings:
    """The settings of a run and its pools. Times are seconds.

    `queue` is the name of this run's own queue. `folder` is for working files and is removed at the end. The workers
    record into the folder `history`; `gate_address` is the Unix socket of the run's gates (`harness.gate`). `versions`
    of the application, of each pool in the order of their start; the last one holds for all later pools. `disposable`
    servers end with the command, so data of an application may be removed from them. `fork_server` is the Unix socket
    of the process that forks the processes under test (`harness.targets.fork_server`), if the run has one.
    """

    queue: str
    folder: Path
    history: Path
    gate_address: str
    workers: int = 2
    concurrency: int = 4
    lease: float = 5.0
    graceful_shutdown: float = 10.0
    versions: tuple[int, ...] = (2,)
    disposable: bool = False
    fork_server: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """The outcome of one submitted task: its `activity` if the target acknowledged it, else the error.

    `certain` is True if a failed submission certainly had no effect; otherwise its outcome is unknown. `name` is what
    an application calls the task: the rows of a load are named by it.
    """

    number: int
    activity: str | None = None
    error: str | None = None
    certain: bool = False
    name: str | None = None


class PoolHandle(Protocol):
    """One running pool: a parent process with its worker processes."""

    @property
    def pid(self) -> int:
        """Process id of the parent."""
        ...

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are alive now."""
        ...

    def wait(self, timeout: float) -> int | None:
        """Exit code of the parent (negative for a signal); None if it does not end within `timeout` seconds."""
        ...

    def log(self) -> str:
        """The output of the pool so far."""
        ...


class TargetSession(Protocol):
    """A target on given endpoints, for one scenario.

    An optional method `movement() -> object` returns anything that differs after any progress which neither changes
    `unfinished` nor is recorded by a worker, for example the number of tasks in each state: the drain waits while it
    changes.
    An optional method `queued_tasks() -> Mapping[str, bool]` gives the activity of each unfinished task, and whether
    the queue has it: a fault that takes data from the queue then says which tasks it took.
    Faults that imitate duties of an application call further optional methods: `clean_up(age)` removes the tasks that
    ended more than `age` seconds ago and returns how many, and keeps their evidence; `start_service()` does what a
    service does at its start, such as the cancellation of lost tasks; `migrate(previous=)` brings the schema to its
    newest revision or to the one before, and returns how many revisions that took; `stored(database_url)` returns the
    `transition` and `record` operations of a copy of the store. Each raises `TargetFailed`.
    """

    def start_pool(self) -> PoolHandle:
        """Start one pool and return once its workers accept tasks; raises `TargetFailed` with its log."""
        ...

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks in order; a failed submission does not raise, it is part of the result.

        Called from many threads at once: the clients of a run do not wait for one another. Calls that share a
        connection which only one thread may use need one connection per thread, or a lock.
        """
        ...

    def unfinished(self) -> int:
        """How many submitted tasks are unfinished according to the system; raises `TargetFailed`."""
        ...

    def witnesses(self) -> Iterable[Operation]:
        """The evidence of store and queue after the drain: `transition`, `record` and `queue` operations."""
        ...

    def close(self) -> None:
        """Close all connections. The runner stops the pools."""
        ...


class Target(Protocol):
    """A system that can be tested.

    An optional attribute `task_names: Collection[str] | None` has the names that its submissions may have, and None if
    they are not known before a run: a threshold of a load for another name is refused.
    An optional attribute `needs` names the services that it uses, and `actions` what its handlers can do at a gate
    (`harness_worker.actions`): faults of others are left out. Without them, it is asked for all.
    An optional attribute `features` names what its tasks can do besides running once (`TaskFeature`).
    An optional attribute `topologies` names the servers besides single ones that it connects to (`Topology`).
    An optional attribute `operator_actions` names what `operate(action, activities)` of its sessions does with tasks
    that have ended (`OperatorAction`).
    An optional attribute `imports` names the modules that its processes import and that read no setting of a run: these
    processes are modules of this interpreter, so they may be forks of one that has imported these (`fork_server` of the
    settings).
    An optional attribute `why_no_producer` says why none of its producers can be killed, None if one can.
    """

    @property
    def name(self) -> str:
        """The name on the command line and in reports."""
        ...

    def version(self) -> str:
        """Version of the system under test."""
        ...

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        """Prepare the servers, for example the schema, and open a session; raises `TargetFailed`."""
        ...
