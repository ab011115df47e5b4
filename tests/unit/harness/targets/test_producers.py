"""Producers of a run, with doubles in place of their processes: whose mistake a call without an answer is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.environments.base import Endpoints
from harness.errors import AdapterMistake
from harness.targets import producers
from harness.targets.base import TargetSettings, TaskSpec
from harness.targets.producers import RunningProducer


class Process:
    """A process that ends during each call."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, *given: Any, name: str) -> None:
        pass

    def submit(self, tasks: Sequence[TaskSpec]) -> Any:
        self.meanwhile()
        raise AdapterMistake("ended with code -9")

    def close(self) -> None:
        pass


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunningProducer:
    monkeypatch.setattr(producers, "ProcessProducer", Process)
    settings = TargetSettings(queue="q", folder=tmp_path, history=tmp_path, gate_address="")
    return RunningProducer("producer-1", "x", Endpoints(database_url="", redis_url=""), settings)


def test_a_call_without_an_answer_is_a_mistake_of_a_producer_that_was_not_killed(
    producer: RunningProducer,
) -> None:
    with pytest.raises(AdapterMistake):
        producer.submit([TaskSpec(number=1)])


def test_it_is_none_of_a_killed_producer_although_that_runs_again(
    producer: RunningProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call may learn of the kill after the heal of the fault."""

    def kill_and_heal(process: Process) -> None:
        producer.kill()
        producer.restart()

    monkeypatch.setattr(Process, "meanwhile", kill_and_heal)
    [answer] = producer.submit([TaskSpec(number=1)])
    assert (answer.number, answer.activity, answer.certain) == (1, None, False)
