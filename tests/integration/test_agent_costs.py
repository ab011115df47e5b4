"""A worker that is killed in the middle of an agent of 30 steps: how much is paid twice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from examples.agents import agents
from harness.environments.embedded import EmbeddedEnvironment
from harness.history import History
from harness.history.faults import FaultWindow, injected_faults
from harness.history.operation import Operation, OperationType
from harness.llm import Budget, Endpoint, PriceList, costs, serving
from tests.conftest import Eventually
from tests.support.production import Site, running_pool
from tests.support.steady_endpoint import steady_profile

pytestmark = pytest.mark.integration

STEPS = 30
BEFORE_THE_KILL = 15
PRICES = PriceList.of_value({"models": {"*": {"input": 1.25, "cached": 0.125, "output": 10}}})


class Runs(NamedTuple):
    """The ids of the agents, and the kill."""

    kept: str
    lost: str
    kill: Sequence[FaultWindow]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """Answers of 20 tokens in about 40 ms, 29 of them with one tool call each."""
    with serving(steady_profile(steps=STEPS, tokens=20)) as endpoint:
        yield endpoint


def kill_at(moment: int) -> Sequence[FaultWindow]:
    """The kill as a history has it."""
    value = {"phase": "inject", "fault": 1, "kind": "kill"}
    kill = Operation(time=moment, process="nemesis", type=OperationType.INFO, f="kill-worker", value=value)
    return injected_faults(History.of([kill]))


@pytest.fixture(scope="module")
def runs(
    servers: EmbeddedEnvironment, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """Two agents, the first one with checkpoints, whose only worker is killed after half of their steps."""
    site, eventually = Site.on(servers.endpoints), Eventually()
    agents.create_tables(site.endpoints.database_url)
    folder = tmp_path_factory.mktemp("agents")
    with site.client() as client:
        with running_pool(
            site, folder, endpoint.variables, pool="examples.agents.agents:pool", workers=1
        ) as pool:
            kept = client.enqueue_sync("research", agents.Research(question="Why?"))
            lost = client.enqueue_sync("research", agents.Research(question="Why?", checkpoints=False))
            both = [str(kept.agent_id), str(lost.agent_id)]
            eventually(lambda: min(asked(endpoint, each) for each in both) > BEFORE_THE_KILL, deadline=30)
            (worker,) = pool.workers()
            moment = time.monotonic_ns()
            worker.kill()
            done = "tasks_completed_total{status=complete,task_name=research}"
            eventually(lambda: pool.metrics().get(done) == 2, deadline=60)
        yield Runs(kept=both[0], lost=both[1], kill=kill_at(moment))
        client.queue.drop()


def asked(endpoint: Endpoint, activity: str) -> int:
    return len(endpoint.records(activity, settle=0).requests)


def test_without_checkpoints_every_step_before_the_kill_is_paid_twice(endpoint: Endpoint, runs: Runs) -> None:
    found = costs(endpoint.records(runs.lost), PRICES, runs.kill)
    assert found.incomplete is None
    assert (found.steps, found.needed.requests) == (STEPS, STEPS)
    assert found.again.requests == found.total.requests - STEPS == found.steps_again
    assert found.steps_again >= BEFORE_THE_KILL
    assert set(found.by_cause) == {"kill-worker"}
    assert found.again.money is not None
    assert found.again.money > 0
    assert BEFORE_THE_KILL - 1 <= found.tool_runs_again <= found.steps_again
    assert Budget.parse("again < 5%, tool runs again <= 1").met(found) is False


def test_with_checkpoints_at_most_the_step_of_the_kill_is_paid_twice(endpoint: Endpoint, runs: Runs) -> None:
    found = costs(endpoint.records(runs.kept), PRICES, runs.kill)
    assert (found.steps, found.needed.requests) == (STEPS, STEPS)
    assert found.again.requests == found.total.requests - STEPS <= 1
    assert set(found.by_cause) <= {"kill-worker"}
    assert found.tool_runs_again <= 1
    assert Budget.parse("again < 10%, tool runs again <= 1").met(found) is True


def test_both_runs_are_all_that_the_meter_billed(endpoint: Endpoint, runs: Runs) -> None:
    found, totals = costs(endpoint.records(), PRICES, runs.kill), endpoint.meter()["totals"]
    assert found.unlabelled.requests == 0
    assert (
        found.total.prompt_tokens
        == found.needed.prompt_tokens + found.again.prompt_tokens
        == totals["prompt_tokens"]
    )
    assert found.needed.completion_tokens + found.again.completion_tokens == totals["completion_tokens"]
