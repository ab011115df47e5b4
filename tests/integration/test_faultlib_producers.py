"""A producer that is killed: what became of its task, that it starts again, and that a kill has to strike somebody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import GateError, TargetFailed
from harness.faults.base import FaultContext, PlannedFault
from harness.faults.producers import KillProducer
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.producers import ProducerNeeds, ProducerProcesses
from harness.wire import Moment

pytestmark = pytest.mark.integration

POOL = SimpleNamespace(name="pool-1", worker_pids=lambda: [1])


@pytest.fixture(scope="module")
def producers(
    servers: EmbeddedEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProducerProcesses]:
    place = tmp_path_factory.mktemp("producers")
    settings = TargetSettings(queue="q", folder=place, history=place, gate_address="")
    endpoints = Endpoints(database_url="", redis_url=servers.endpoints.redis_url)
    needs = ProducerNeeds(number=1, target="tests.support.redis_producer:TARGET")
    found = ProducerProcesses(needs, endpoints, settings)
    yield found
    found.close()


def context(producers: ProducerProcesses | None, patience: float = 30.0) -> FaultContext:
    gates: Any = None
    pools: Any = SimpleNamespace(running=lambda: [POOL])
    return FaultContext(gates=gates, pools=pools, producers=producers, patience=patience)


def planned(moment: Moment) -> PlannedFault:
    fault = KillProducer(service="redis", moment=moment, at=0.5)
    return PlannedFault(number=1, fault=fault, gate="", moment=0.0, draw=0.9)


def strike(one: PlannedFault, given: FaultContext, number: int) -> Submission:
    """Inject the fault while a task is submitted; the answer for the task."""
    assert given.producers is not None
    aim = one.fault.aim(given, one)
    injected = threading.Thread(target=one.fault.inject, args=(given, one, aim))
    injected.start()
    # A command that comes before the strike is armed does not count.
    while (answer := given.producers.submit([TaskSpec(number=number)])[0]).activity is not None:
        number += 1
    injected.join()
    return answer


@pytest.mark.parametrize(("moment", "stored"), [(Moment.BEFORE, False), (Moment.AFTER, True)])
def test_the_outcome_of_a_task_is_unknown_whose_producer_is_killed(
    servers: EmbeddedEnvironment, producers: ProducerProcesses, moment: Moment, stored: bool
) -> None:
    given, one = context(producers), planned(moment)
    answer = strike(one, given, 1)
    assert (answer.error, answer.certain) == ("its producer was killed before it answered", False)
    with redis.Redis.from_url(servers.endpoints.redis_url) as client:
        assert bool(client.exists(f"task-{answer.number}")) is stored
        client.delete(f"task-{answer.number}")
    aim = one.fault.aim(given, one)
    assert aim.pids == ()
    one.fault.heal(given, one, aim)
    assert producers.submit([TaskSpec(number=7)])[0].activity == "task-7"


def test_a_kill_that_strikes_no_command_is_no_fault(producers: ProducerProcesses) -> None:
    given, one = context(producers, patience=0.05), planned(Moment.AFTER)
    with pytest.raises(GateError, match="sent no command to redis"):
        one.fault.inject(given, one, one.fault.aim(given, one))
    assert producers.submit([TaskSpec(number=8)])[0].activity == "task-8"


@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_a_run_without_such_a_producer_cannot_kill_it(producers: ProducerProcesses, service: str) -> None:
    found = planned(Moment.AFTER)
    one = replace(found, fault=KillProducer(service=service, moment=Moment.AFTER, at=0.5))
    with pytest.raises(GateError, match="no producer of this run"):
        one.fault.aim(context(None if service == "redis" else producers), one)


def test_a_producer_that_does_not_start_again_is_seen(producers: ProducerProcesses, tmp_path: Path) -> None:
    [producer] = producers.all
    given, one = context(producers), planned(Moment.AFTER)
    producer.kill()
    right = producer._given
    producer._given = ("tests.support.redis_producer:MISSING", *right[1:])
    with pytest.raises(TargetFailed, match="MISSING"):
        one.fault.heal(given, one, one.fault.aim(given, one))
    producer._given = right
    one.fault.heal(given, one, one.fault.aim(given, one))
    assert producer.pids()
