"""A target that takes no task ends the run at once, and a fault does not wait for a task that was refused."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import GateError
from harness.gate import GateKeeper
from harness.run.refusals import StopEvent, WatchedSession
from harness.targets.base import Submission, TargetSession, TaskSpec


class Refusing:
    """Answers with an error for the tasks in `refused`."""

    def __init__(self, *refused: int, certain: bool = True) -> None:
        self.refused = refused
        self.certain = certain

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return [
            Submission(number=task.number, error="no such queue", certain=self.certain)
            if task.number in self.refused
            else Submission(number=task.number, activity=f"a{task.number}")
            for task in tasks
        ]


def task(number: int, gate: str | None = None) -> TaskSpec:
    return TaskSpec(number=number, gate=gate)


@pytest.fixture
def gates() -> Iterator[GateKeeper]:
    with tempfile.TemporaryDirectory(prefix="hx-") as folder, GateKeeper(Path(folder) / "gate") as keeper:
        yield keeper


def watched(session: Refusing, gates: GateKeeper) -> WatchedSession:
    return WatchedSession(cast(TargetSession, session), gates)


def waits(gates: GateKeeper) -> bool:
    try:
        gates.wait_for("g", within=0.05)
    except GateError as error:
        return "arrived at gate" in str(error)
    return False


@pytest.mark.parametrize("certain", [True, False])
def test_a_target_that_takes_no_task_ends_the_wait_and_the_run(gates: GateKeeper, certain: bool) -> None:
    session, stopped = watched(Refusing(1, 2, certain=certain), gates), threading.Event()
    session.stop = stopped.set
    session.submit([task(1), task(2, "g")])
    began = time.monotonic()
    with pytest.raises(GateError, match="its task 2 was not submitted: no such queue"):
        gates.wait_for("g", within=60)
    assert time.monotonic() - began < 30
    assert stopped.is_set()
    assert session.none_taken == (
        "The target acknowledged none of 2 tasks; the first, task 1: no such queue. "
        "Run `harness target check` and see the logs of its client and its pools."
    )


def test_a_wait_that_has_begun_ends_too(gates: GateKeeper) -> None:
    session, errors = watched(Refusing(1), gates), list[str]()

    def wait() -> None:
        try:
            gates.wait_for("g", within=60)
        except GateError as error:
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    session.submit([task(1, "g")])
    thread.join(30)
    assert errors == ["its task 1 was not submitted: no such queue"]


@pytest.mark.parametrize(("certain", "still"), [(True, False), (False, True)])
def test_one_refused_task_ends_its_own_wait_only(gates: GateKeeper, certain: bool, still: bool) -> None:
    session = watched(Refusing(2, certain=certain), gates)
    session.submit([task(1)])
    session.submit([task(2, "g"), task(3)])
    assert waits(gates) is still  # a task with an unknown outcome may still come
    session.check()
    assert session.none_taken is None


def test_without_a_gate_the_end_of_the_workload_tells_it(gates: GateKeeper) -> None:
    session = watched(Refusing(1, 2), gates)
    session.submit([task(1), task(2)])
    assert session.none_taken is None
    session.check()
    assert "none of 2 tasks" in str(session.none_taken)


def test_everything_else_is_that_of_the_session(gates: GateKeeper) -> None:
    session: Any = Refusing()
    session.movement = lambda: 7
    assert watched(session, gates).movement() == 7


def test_a_run_that_ends_lets_no_fault_wait(gates: GateKeeper) -> None:
    stop = StopEvent(gates)
    threading.Timer(0.05, stop.set).start()
    for gate in ("waits already", "waits later"):
        with pytest.raises(GateError, match="the run ended"):
            gates.wait_for(gate, within=600)
    assert stop.is_set()
