"""What the parent of a pool makes of the news about its children, without any process."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agentexec.config import load_settings
from agentexec.worker import supervisor as module
from agentexec.worker.child import Died, Leaving, Ready
from agentexec.worker.process_codes import EXIT_FAILED, EXIT_RECYCLED
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import StopCommand, Supervisor


class Child:
    """A child that only remembers what it was told."""

    no_process_left = False
    all: list[Child] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, *, name: str, slot: int, **_: object) -> None:
        if Child.no_process_left:
            raise OSError("Resource temporarily unavailable")
        self.name, self.slot, self.pid, self.ready = name, slot, 1, False
        self.told: list[str] = []
        self.started = 0.0
        Child.all.append(self)

    def born(self, at: float) -> None:
        """Say when it was started, on the monotonic clock."""
        self.started = at

    def drain(self) -> None:
        self.told.append("drain")

    def stop_now(self) -> None:
        self.told.append("now")


class Releases:
    """The pool's maintenance, as far as the supervisor uses it."""

    def __init__(self) -> None:
        self.released: list[tuple[str, bool]] = []

    def release(self, worker: str, *, charge: bool) -> None:
        self.released.append((worker, charge))


class Parent:
    """A supervisor of one worker whose children are the ones above, and whose respawns wait to be asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Child.all, Child.no_process_left = [], False
        monkeypatch.setattr(module, "Child", Child)
        settings = load_settings(num_workers=1)
        reference = PoolReference(attribute="pool", module="m")
        supervisor: Any = Supervisor(reference=reference, expect=[], settings=settings, healer=None)  # type: ignore[arg-type]  # never used
        self.supervisor = supervisor
        self.releases = supervisor._maintenance = Releases()
        self.pauses: list[float] = []
        supervisor._spawn_after = lambda pause, slot: self.pauses.append(pause)
        supervisor._spawn(0)

    def hears(self, event: Any) -> None:
        self.supervisor._handle(event)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Parent:
    parent = Parent(monkeypatch)
    Child.all[0].born(0.0)  # long ago
    return parent


def test_a_child_that_was_killed_is_replaced_at_once_and_its_tasks_are_charged(parent: Parent) -> None:
    first = Child.all[0]
    parent.hears(Ready(first))  # type: ignore[arg-type]  # a child for this purpose
    parent.hears(Died(first, -9))  # type: ignore[arg-type]
    assert len(Child.all) == 2
    assert parent.releases.released == [(first.name, True)]


def test_a_child_that_leaves_is_replaced_once_whichever_news_comes_first(parent: Parent) -> None:
    first = Child.all[0]
    parent.hears(Died(first, EXIT_RECYCLED))  # type: ignore[arg-type]
    parent.hears(Leaving(first))  # type: ignore[arg-type]
    assert len(Child.all) == 2, "else the slot is empty for ever"
    second = Child.all[1]
    parent.hears(Leaving(second))  # type: ignore[arg-type]
    parent.hears(Died(second, EXIT_RECYCLED))  # type: ignore[arg-type]
    assert len(Child.all) == 3
    assert parent.releases.released == []


def test_a_child_that_leaves_is_drained_with_the_others(parent: Parent) -> None:
    first = Child.all[0]
    parent.hears(Leaving(first))  # type: ignore[arg-type]
    parent.hears(StopCommand.DRAIN)
    assert [child.told for child in Child.all] == [["drain"], ["drain"]]


def test_a_child_that_fails_by_itself_soon_after_it_was_ready_is_started_with_a_pause(parent: Parent) -> None:
    """A database that refuses every statement must not burn through the tasks' crashes in seconds."""
    young = Child.all[0]
    young.born(time.monotonic())
    parent.hears(Ready(young))  # type: ignore[arg-type]
    parent.hears(Died(young, EXIT_FAILED))  # type: ignore[arg-type]
    assert len(Child.all) == 1
    assert parent.pauses == [0.5]


def test_a_system_without_a_process_to_give_does_not_end_the_pool(parent: Parent) -> None:
    Child.no_process_left = True
    first = Child.all[0]
    parent.hears(Ready(first))  # type: ignore[arg-type]
    parent.hears(Died(first, -9))  # type: ignore[arg-type]
    assert parent.pauses == [module.FORK_PAUSE]
