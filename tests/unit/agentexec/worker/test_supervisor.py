"""The supervisor's reactions to events of its children, without any process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from agentexec.config import load_settings
from agentexec.core import runtime
from agentexec.worker.child import ChildEvent, Died, Leaving, Post, Ready
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.protocol import ExitCode, StopCommand, WorkerSpec
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import FORK_PAUSE, Supervisor


class Child:
    """A child that only keeps the commands that it gets."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.started = 0.0  # on the monotonic clock: long ago
        self.pid = 1
        self.ready = False
        self.commands: list[str] = []

    def stop(self, command: StopCommand) -> None:
        self.commands.append(command)

    def kill(self) -> None:
        self.commands.append("kill")


class Releases:
    """The maintenance of the pool, as the supervisor uses it."""

    def __init__(self) -> None:
        self.released: list[tuple[str, bool]] = []

    def release(self, worker: str, *, charge: bool) -> None:
        self.released.append((worker, charge))


class Waiting(runtime.SystemRuntime):
    """A runtime that notes what is to be done later, and never does it."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        self.pauses.append(seconds)


class Parent:
    """A supervisor of one worker with the children above."""

    def __init__(self, waiting: Waiting) -> None:
        self.children: list[Child] = []
        self.no_process_left = False
        self.pauses = waiting.pauses
        self.releases = Releases()
        self.supervisor = Supervisor(
            reference=PoolReference(attribute="pool", module="m"),
            expected_tasks=(),
            settings=load_settings(num_workers=1),
            maintenance=cast(Maintenance, self.releases),
            start_child=self.start_child,
        )
        self.supervisor._spawn(0)

    def start_child(self, spec: WorkerSpec, post: Post) -> Child:
        if self.no_process_left:
            raise OSError("Resource temporarily unavailable")
        self.children.append(Child(spec))
        return self.children[-1]

    def handles(self, event: ChildEvent | StopCommand) -> None:
        self.supervisor._events.put(event)
        self.supervisor._handle_next()


@pytest.fixture
def parent() -> Iterator[Parent]:
    waiting = Waiting()
    with runtime.use(waiting):
        yield Parent(waiting)


def test_a_child_that_was_killed_is_replaced_at_once_and_its_tasks_are_charged(parent: Parent) -> None:
    first = parent.children[0]
    parent.handles(Ready(first))
    parent.handles(Died(first, -9))
    assert len(parent.children) == 2
    assert parent.releases.released == [(first.spec.name, True)]


def test_a_child_that_leaves_is_replaced_once_whichever_news_comes_first(parent: Parent) -> None:
    first = parent.children[0]
    parent.handles(Died(first, ExitCode.RECYCLED))
    parent.handles(Leaving(first))
    assert len(parent.children) == 2, "else the slot is empty for ever"
    second = parent.children[1]
    parent.handles(Leaving(second))
    parent.handles(Died(second, ExitCode.RECYCLED))
    assert len(parent.children) == 3
    assert parent.releases.released == []


def test_a_child_that_leaves_is_drained_with_the_others(parent: Parent) -> None:
    first = parent.children[0]
    parent.handles(Leaving(first))
    parent.handles(StopCommand.DRAIN)
    assert [child.commands for child in parent.children] == [["drain"], ["drain"]]


def test_a_child_that_fails_by_itself_soon_after_it_was_ready_is_started_with_a_pause(parent: Parent) -> None:
    """A database that refuses every statement must not burn through the tasks' crashes in seconds."""
    young = parent.children[0]
    young.started = time.monotonic()
    parent.handles(Ready(young))
    parent.handles(Died(young, ExitCode.FAILED))
    assert len(parent.children) == 1
    assert parent.pauses == [0.5]


def test_a_system_without_a_process_to_give_does_not_end_the_pool(parent: Parent) -> None:
    parent.no_process_left = True
    first = parent.children[0]
    parent.handles(Ready(first))
    parent.handles(Died(first, -9))
    assert parent.pauses == [FORK_PAUSE]
