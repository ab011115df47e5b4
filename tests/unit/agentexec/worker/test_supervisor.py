"""How the parent of a pool handles the events of its children, without any process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agentexec.config import load_settings
from agentexec.core import runtime
from agentexec.core.runtime import SystemRuntime
from agentexec.errors import ConfigurationError
from agentexec.worker.child import ChildEvent, Died, Leaving, Post, Ready, WorkerProcess
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.protocol import ExitCode, StopCommand, WorkerSpec
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import FORK_PAUSE, MAX_FAILED_STARTS, Supervisor

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
    """A clock that goes on only where a thread waits: a pause takes no time, and its length is recorded."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def mailbox(self) -> Any:
        return Mailbox(self)


class Mailbox:
    """A mailbox that is empty at the end of a pause, unless it has an item already."""

    def __init__(self, runtime: NoPauses) -> None:
        self._runtime = runtime
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._items.put

    def get(self, timeout: float | None = None) -> Any:
        try:
            return self._items.get(block=timeout is None)
        except queue.Empty:
            self._runtime.pauses.append(timeout or 0.0)
            self._runtime.now += timeout or 0.0
            raise


class ReleasesOnly:
    """A reconciler that only records the workers whose leases it is to release."""

    def __init__(self, released: list[tuple[str, bool]]) -> None:
        self._released = released

    def run_round(self, *, full_pass: bool) -> None: ...

    def release_worker(self, worker: str, *, charge: bool) -> None:
        self._released.append((worker, charge))


class Parent:
    """A supervisor of one worker. Each script has the events of one child; the first child without one drains all."""

    def __init__(self, *scripts: Script, age: float = 100.0, limited: bool = True) -> None:
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
            limit = threading.Timer(10.0, self._supervisor.stop, [StopCommand.NOW])
            if limited:
                limit.start()
            self.refusal = ""
            try:
                self.exit_code = self._supervisor.run()
            except ConfigurationError as error:
                self.refusal = str(error)
            finally:
                limit.cancel()

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


def is_refused(child: Child) -> Iterable[ChildEvent]:
    return (Died(child, ExitCode.MISCONFIGURED, "The pool is elsewhere; move it."),)


def cannot_import(child: Child) -> Iterable[ChildEvent]:
    return (Died(child, ExitCode.BROKEN, "app cannot be imported; correct it."),)


def has_no_server(child: Child) -> Iterable[ChildEvent]:
    return (Died(child, ExitCode.FAILED, "Redis is away."),)


def is_killed_before_it_is_ready(child: Child) -> Iterable[ChildEvent]:
    return (Died(child, -15),)


def cannot_start(_: object) -> Iterable[ChildEvent]:
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


def test_a_system_without_a_thread_left_does_not_end_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses the thread of a timer as it refuses a process."""
    monkeypatch.setattr(threading.Timer, "start", cannot_start)
    parent = Parent(cannot_start, is_killed, limited=False)
    assert parent.runtime.pauses == [FORK_PAUSE]
    assert len(parent.children) == 2


def test_a_worker_whose_own_servers_fail_it_charges_none_of_its_tasks() -> None:
    """What the database refuses is no crash of a task, and most of its tasks have not even begun."""
    parent = Parent(fails)
    assert parent.released == [(parent.children[0].spec.name, False)]


def test_a_pool_whose_first_worker_is_refused_ends_with_the_reason() -> None:
    parent = Parent(is_refused, age=0.0)
    assert parent.refusal == "The pool is elsewhere; move it."
    assert len(parent.children) == 1


def test_a_pool_without_a_worker_that_was_ever_ready_ends_after_some_tries() -> None:
    parent = Parent(*[cannot_import] * 9, age=0.0)
    assert parent.refusal == "app cannot be imported; correct it."
    assert len(parent.children) == MAX_FAILED_STARTS
    assert parent.runtime.pauses == [0.5, 1.0, 2.0, 4.0]


def test_workers_that_end_without_a_reason_end_the_pool_too() -> None:
    parent = Parent(*[lambda child: [Died(child, -11)]] * 9, age=0.0)
    assert "the last one with code -11" in parent.refusal


@pytest.mark.parametrize("death", [is_refused, cannot_import])
def test_a_pool_that_had_a_ready_worker_goes_on_trying(death: Script) -> None:
    parent = Parent(is_killed, *[death] * 9, age=0.0)
    assert parent.refusal == ""
    assert len(parent.children) == 11


def test_a_server_that_is_away_ends_no_pool() -> None:
    parent = Parent(*[has_no_server] * 9, age=0.0)
    assert parent.refusal == ""
    assert len(parent.children) == 10


def test_a_child_that_is_stopped_before_it_is_ready_fails_nothing() -> None:
    """A signal to the process group reaches it before it has a handler."""

    def dies_in_the_drain(child: Child) -> Iterable[ChildEvent]:
        parent_stops[0](StopCommand.DRAIN)
        return is_killed_before_it_is_ready(child)

    parent_stops: list[Callable[[StopCommand], None]] = []
    original = Supervisor.run

    def run(supervisor: Supervisor) -> int:
        parent_stops.append(supervisor.stop)
        return original(supervisor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Supervisor, "run", run)
        assert Parent(dies_in_the_drain).exit_code == 0
