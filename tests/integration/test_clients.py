"""The clients of a run on real servers: what a frozen server costs, and a target that many threads share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from pydantic import BaseModel

import agentexec as ax
from harness.checkers import availability
from harness.environments.embedded import EmbeddedEnvironment
from harness.history import History, InjectionKind, OperationType, Recorder
from harness.run.driver import Driver
from harness.targets.agentexec_target import TARGET, AgentexecSession
from harness.targets.applications.agentexec import AgentexecApplication
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedClient
from tests.conftest import Eventually

pytestmark = pytest.mark.integration

RATE = 40.0


class ListQueue:
    """A session that pushes each task into a list of Redis and waits for the answer as long as it takes."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self.name = f"clients-{os.getpid()}"

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        for task in tasks:
            self._client.rpush(self.name, task.number)
        return [Submission(number=task.number, activity=f"a{task.number}") for task in tasks]

    def close(self) -> None:
        self._client.delete(self.name)
        self._client.close()


class NoteContext(BaseModel):
    number: int


async def note(agent_id: UUID, context: NoteContext) -> None: ...


@pytest.fixture
def queue(servers: EmbeddedEnvironment) -> Iterator[ListQueue]:
    queue = ListQueue(servers.endpoints.redis_url)
    yield queue
    queue.close()


def test_a_frozen_server_is_slow_for_every_task_that_was_due_meanwhile(
    servers: EmbeddedEnvironment, queue: ListQueue, tmp_path: Path, eventually: Eventually
) -> None:
    session: Any = queue
    client, nemesis = (Recorder(tmp_path / f"{name}.jsonl", process=name) for name in ("client", "nemesis"))

    def requests() -> int:
        return (tmp_path / "client.jsonl").read_text().count('"type":"invoke"')

    def fault(phase: str) -> None:
        value = {"fault": 1, "phase": phase, "kind": InjectionKind.PAUSE}
        nemesis.record(OperationType.INFO, "stall-redis", **value)

    tasks = [Arrival(delay=1 / RATE, task=TaskSpec(number=n)) for n in range(1, 121)]
    driver = Driver(NumberedClient(session, client), tasks, start=time.monotonic())
    try:
        assert eventually(lambda: requests() >= 20)
        fault("inject")
        servers.pause("redis")
        try:
            assert eventually(lambda: requests() >= 80, deadline=30.0)
        finally:
            servers.resume("redis")
            fault("heal")
        assert driver.join(30.0)
    finally:
        driver.stop()
        client.close()
        nemesis.close()
    result = availability()(History.load(tmp_path))
    figures = {name: value or 0.0 for name, value in result.figures.items()}
    # 60 arrivals at 40 a second: the freeze lasted about 1.5 s, and a task waited for 0.75 s on average.
    assert figures["submitted_during"] >= 50
    assert figures["available_during"] == 1.0
    assert figures["enqueue_during_p99"] > 1.0
    assert figures["enqueue_during_p50"] > 0.5
    assert figures["enqueue_during_max"] > figures["late_p99"]
    assert availability(enqueue_p99=0.5)(History.load(tmp_path)).verdict == "INVALID"


@pytest.fixture
def session(servers: EmbeddedEnvironment, tmp_path: Path) -> Iterator[AgentexecSession]:
    settings = TargetSettings(
        queue=f"clients-{os.getpid()}", folder=tmp_path, history=tmp_path, gate_address=str(tmp_path / "gate")
    )
    session = TARGET.open(servers.endpoints, settings)
    yield session
    session.close()


def test_a_session_of_agentexec_serves_many_clients_at_once(session: AgentexecSession) -> None:
    with ThreadPoolExecutor(64) as clients:
        calls = [
            clients.submit(session.submit, [TaskSpec(number=n), TaskSpec(number=n + 500)]) for n in range(200)
        ]
    answers = [answer for call in calls for answer in call.result()]
    assert [one.error for one in answers if one.error is not None] == []
    assert len({one.activity for one in answers}) == len(answers) == 400
    assert session.unfinished() == 400


def test_the_make_of_an_application_runs_in_one_client_at_a_time(
    servers: EmbeddedEnvironment, tmp_path: Path
) -> None:
    met, together = threading.Barrier(2), []

    def make(number: int) -> tuple[str, NoteContext]:
        try:
            together.append(met.wait(0.1))
        except threading.BrokenBarrierError:
            met.reset()
        return "note", NoteContext(number=number)

    pool = ax.Pool(database_url=servers.endpoints.database_url, redis_url=servers.endpoints.redis_url)
    pool.task("note")(note)
    application = AgentexecApplication(pool=pool, make=make, reference=lambda: "nowhere:NONE")
    settings = TargetSettings(
        queue=f"make-{os.getpid()}", folder=tmp_path, history=tmp_path, gate_address=str(tmp_path / "gate")
    )
    session = application.open(servers.endpoints, settings)
    try:
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda n: session.submit([TaskSpec(number=n)]), range(16)))
    finally:
        session.close()
    assert [one.error for answer in answers for one in answer] == [None] * 16
    assert together == []
