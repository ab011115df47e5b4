"""Every task is submitted at its intended time, whatever the answers to earlier ones are waiting for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.checkers import availability
from harness.checkers.base import Verdict
from harness.history import History, OperationType, Recorder
from harness.history.submissions import submissions
from harness.run.driver import Driver
from harness.targets.base import Submission, TaskSpec
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient
from tests.conftest import Eventually


class FrozenSystem:
    """A session that answers nothing while it is frozen; every call is noted with its thread and its tasks."""

    def __init__(self, broken: Callable[[], None] = lambda: None) -> None:
        self.thawed = threading.Event()
        self.thawed.set()
        self.broken = broken
        self.calls: list[tuple[str, list[int]]] = []

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        self.calls.append((threading.current_thread().name, [task.number for task in tasks]))
        self.broken()
        self.thawed.wait()
        return [Submission(number=task.number, activity=f"a{task.number}") for task in tasks]

    @property
    def submitted(self) -> list[int]:
        return sorted(number for _, tasks in self.calls for number in tasks)


class Submitter:
    """The tasks of a driver, submitted without a recorder."""

    def __init__(self, system: FrozenSystem) -> None:
        self._system = system

    def submit(self, tasks: Sequence[TaskSpec]) -> None:
        self._system.submit(tasks)

    def unfinished(self) -> int:
        return 0


def arrivals(*delays: float) -> list[Arrival]:
    return [Arrival(delay=delay, task=TaskSpec(number=n)) for n, delay in enumerate(delays, start=1)]


@contextmanager
def driving(system: FrozenSystem, tasks: Sequence[Arrival], *, clients: int = 64) -> Iterator[Driver]:
    driver = Driver(Submitter(system), tasks, start=time.monotonic(), clients=clients)
    try:
        yield driver
    finally:
        system.thawed.set()
        driver.stop()


def test_a_call_that_waits_delays_no_other_task(eventually: Eventually) -> None:
    system = FrozenSystem()
    system.thawed.clear()
    with driving(system, arrivals(*[0.002] * 30)) as driver:
        assert eventually(lambda: len(system.submitted) == 30)
        assert not driver.join(0.0)
        system.thawed.set()
        assert driver.join(30.0)
    assert system.submitted == list(range(1, 31))


def test_a_system_that_answers_at_once_needs_few_clients() -> None:
    system = FrozenSystem()
    with driving(system, arrivals(*[0.005] * 40)) as driver:
        assert driver.join(30.0)
    assert system.submitted == list(range(1, 41))
    assert len({name for name, _ in system.calls}) < 40


def test_past_the_limit_tasks_wait_for_a_client_and_are_submitted_together(eventually: Eventually) -> None:
    system = FrozenSystem()
    system.thawed.clear()
    # The last task arrives when all others have: only a limit keeps them from being submitted.
    with driving(system, arrivals(*[0.002] * 20), clients=3) as driver:
        assert eventually(lambda: len(system.calls) == 3)
        assert not driver.join(0.2)
        assert len(system.calls) == 3
        system.thawed.set()
        assert driver.join(30.0)
    assert system.submitted == list(range(1, 21))
    assert len({name for name, _ in system.calls}) == 3
    assert any(len(tasks) > 1 for _, tasks in system.calls[3:])


def test_tasks_that_fall_due_at_one_moment_are_submitted_together() -> None:
    system = FrozenSystem()
    with driving(system, arrivals(*[0.0] * 250)) as driver:
        assert driver.join(30.0)
    assert [len(tasks) for _, tasks in sorted(system.calls, key=lambda call: call[1])] == [100, 100, 50]


def test_an_error_of_a_submission_is_raised_and_ends_the_submitting() -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    system = FrozenSystem(broken)
    with driving(system, arrivals(0.0, *[30.0] * 5)) as driver, pytest.raises(RuntimeError, match="a bug"):
        driver.join(30.0)
    assert system.submitted == [1]


def test_an_error_of_a_submission_is_noted_before_anybody_joins() -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    failed = threading.Event()
    tasks = arrivals(0.0, *[30.0] * 5)
    driver = Driver(Submitter(FrozenSystem(broken)), tasks, start=time.monotonic(), failed=failed)
    assert failed.wait(30.0)
    driver.stop()


def test_a_stopped_driver_submits_nothing_that_still_waits(eventually: Eventually) -> None:
    system = FrozenSystem()
    system.thawed.clear()
    with driving(system, arrivals(*[0.0] * 150, 30.0), clients=1):
        assert eventually(lambda: len(system.calls) == 1)
    assert system.submitted == list(range(1, 101))


def test_the_history_has_the_intended_time_of_each_task_however_late_it_was(
    tmp_path: Path, eventually: Eventually
) -> None:
    system, recorder = FrozenSystem(), Recorder(tmp_path / "client.jsonl", process="client")
    system.thawed.clear()
    session: Any = system
    start = time.monotonic()
    driver = Driver(NumberedClient(session, recorder), arrivals(*[0.01] * 20), start=start, clients=2)
    assert eventually(lambda: time.monotonic() > start + 0.25)
    system.thawed.set()
    assert driver.join(30.0)
    driver.stop()
    recorder.close()
    history = History.load(tmp_path)
    due = [round((start + 0.01 * n) * 1e9) for n in range(1, 21)]
    found = {one.task: one for one in submissions(history)}
    assert [found[n].intended for n in range(1, 21)] == pytest.approx(due, abs=2_000)
    assert found[20].request.time > found[20].intended + 30_000_000
    result = availability()(history)
    assert result.verdict is Verdict.VALID
    late, slowest = result.figures["late_max"], result.figures["enqueue_before_max"]
    assert late is not None
    assert slowest is not None
    assert late > 0.03
    assert slowest >= 0.2


def test_an_answer_after_the_end_of_the_recording_goes_into_no_other_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "client.jsonl", process="client")
    recorder.close()
    with (tmp_path / "other").open("wb"), pytest.raises(OSError, match="Bad file descriptor"):
        recorder.record(OperationType.OK, "enqueue", task=1)
    assert (tmp_path / "other").read_bytes() == b""
