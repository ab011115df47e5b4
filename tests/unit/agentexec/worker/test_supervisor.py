"""How the parent of a pool handles the events of its children, without any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agentexec.config import load_settings
from agentexec.core import runtime
from agentexec.core.runtime import SystemRuntime
from agentexec.worker.child import ChildEvent, Died, Leaving, Post, Ready, WorkerProcess
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.protocol import ExitCode, StopCommand, WorkerSpec
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import FORK_PAUSE, Supervisor

Script = Callable[["Child"], Iterable[ChildEvent]]


class Child:
    """A worker process that only records its commands; it ends when it is asked to."""

    pid = 1

    def __init__(self, spec: WorkerSpec, post: Post, *, started: float) -> None:
        self.spec, self.started, self.ready = spec, started, False
        self.commands: list[str] = []
        self._post = post

    def stop(self, command: StopCommand) -> None:
        self.commands.append(command)
        self._post(Died(self, 0))

    def kill(self) -> None:
        self.commands.append("kill")


class NoPauses(SystemRuntime):
    """A clock that stands still; what is to be done later is done at once, and how much later is recorded."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return 1_000.0

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        self.pauses.append(seconds)
        work()


class ReleasesOnly:
    """A reconciler that only records the workers whose leases it is to release."""

    def __init__(self, released: list[tuple[str, bool]]) -> None:
        self._released = released

    def run_round(self, *, full_pass: bool) -> None: ...

    def release_worker(self, worker: str, *, charge: bool) -> None:
        self._released.append((worker, charge))


class Parent:
    """A supervisor of one worker. Each script has the events of one child; the first child without one drains all."""

    def __init__(self, *scripts: Script, age: float = 100.0) -> None:
        self.children: list[Child] = []
        self.released: list[tuple[str, bool]] = []
        self.runtime = NoPauses()
        self._scripts = list(scripts)
        self._age = age
        with runtime.use(self.runtime):
            reference = PoolReference(attribute="pool", module="m")
            settings = load_settings(num_workers=1)
            reconciler: Any = ReleasesOnly(self.released)
            self._supervisor = Supervisor(
                reference=reference,
                expected_tasks=(),
                settings=settings,
                maintenance=Maintenance(reconciler, settings),
                start_child=self._start,
            )
            # Else a child that is not replaced would be waited for without end.
            SystemRuntime().after(10.0, lambda: self._supervisor.stop(StopCommand.NOW))
            self.exit_code = self._supervisor.run()

    def _start(self, spec: WorkerSpec, post: Post) -> WorkerProcess:
        child = Child(spec, post, started=self.runtime.monotonic() - self._age)
        events = list(self._scripts.pop(0)(child)) if self._scripts else None
        self.children.append(child)
        for event in events or ():
            post(event)
        if events is None:
            self._supervisor.stop(StopCommand.DRAIN)
        return child


def is_killed(child: Child) -> Iterable[ChildEvent]:
    return Ready(child), Died(child, -9)


def leaves_unnoticed(child: Child) -> Iterable[ChildEvent]:
    return Died(child, ExitCode.RECYCLED), Leaving(child)


def leaves(child: Child) -> Iterable[ChildEvent]:
    return Leaving(child), Died(child, ExitCode.RECYCLED)


def begins_to_leave(child: Child) -> Iterable[ChildEvent]:
    return (Leaving(child),)


def fails(child: Child) -> Iterable[ChildEvent]:
    return Ready(child), Died(child, ExitCode.FAILED)


def cannot_start(child: Child) -> Iterable[ChildEvent]:
    raise OSError("Resource temporarily unavailable")


def test_a_killed_child_is_replaced_at_once_and_its_tasks_are_charged() -> None:
    parent = Parent(is_killed)
    first, _second = parent.children
    assert parent.released == [(first.spec.name, True)]
    assert parent.runtime.pauses == []


def test_a_child_that_leaves_is_replaced_once_whichever_event_comes_first() -> None:
    parent = Parent(leaves_unnoticed, leaves)
    assert len(parent.children) == 3, "else the slot stays empty"
    assert parent.released == []


def test_a_child_that_leaves_is_drained_with_the_others() -> None:
    parent = Parent(begins_to_leave)
    assert [child.commands for child in parent.children] == [["drain"], ["drain"]]
    assert parent.exit_code == 0


def test_a_child_that_fails_soon_after_it_was_ready_is_replaced_after_a_pause() -> None:
    """A database that refuses every statement must not use up the crashes of all tasks in seconds."""
    parent = Parent(fails, age=0.0)
    assert len(parent.children) == 2
    assert parent.runtime.pauses == [0.5]


def test_a_system_that_cannot_start_a_process_does_not_end_the_pool() -> None:
    parent = Parent(is_killed, cannot_start)
    assert parent.runtime.pauses == [FORK_PAUSE]
    assert len(parent.children) == 2


def test_a_worker_whose_own_servers_fail_it_charges_none_of_its_tasks() -> None:
    """What the database refuses is no crash of a task, and most of its tasks have not even begun."""
    parent = Parent(fails)
    assert parent.released == [(parent.children[0].spec.name, False)]
