"""The scenarios of the table: which loss strikes which target, and that each can be looked up by its name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from harness.checkers.base import Verdict
from harness.environments.base import SERVICES
from harness.errors import UsageError
from harness.faults import postgres_states, redis_states
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.queues.cells import CELLS, LOSSES, TASKS, scenario_name
from harness.scenario import registry
from harness.scenario.schedule import Schedule
from tests.support.histories import HistoryBuilder

OF_PROCESSES = {
    Loss.WORKER_KILLED, Loss.POOL_KILLED, Loss.WORKER_PAUSED, Loss.SIGTERM, Loss.SIGTERM_LATE,
}  # fmt: skip
OF_BROKER = {Loss.BROKER_RESTARTED, Loss.BROKER_EMPTIED, Loss.BROKER_FROZEN}
OF_DATABASE = {Loss.DATABASE_RESTARTED, Loss.DATABASE_FROZEN, Loss.BACKENDS_TERMINATED}

ONLY_IN_SCENARIOS = {
    Loss.DEPLOYMENT, Loss.WORKER_BLOCKED, Loss.WORKER_OUT_OF_MEMORY, Loss.WORKER_STARVED, Loss.BROKER_TAIL_LOST,
    Loss.DATABASE_RESTORED, Loss.DATABASE_TAIL_LOST, Loss.PRODUCER_KILLED, Loss.WORKER_CLOCK_JUMPED,
    Loss.BROKER_DISK_FULL, Loss.DATABASE_DISK_FULL, Loss.DATABASE_DEADLOCKS,
}  # fmt: skip


def struck(*needs: str) -> set[Loss]:
    return {loss for loss in LOSSES if scenario_name(loss, needs) is not None}


def test_what_only_scenarios_ask_is_no_column() -> None:
    """Each column costs a run of every target; these losses are of servers that go on, in a state of their own."""
    of_states = {state().loss for module in (redis_states, postgres_states) for state in states(module)}
    assert set(LOSSES) == set(Loss) - ONLY_IN_SCENARIOS - of_states | {Loss.BACKENDS_TERMINATED}


def states(module: ModuleType) -> list[Any]:
    return [
        one for one in vars(module).values() if hasattr(one, "held") and one.__module__ == module.__name__
    ]


def test_a_target_is_struck_by_what_its_services_can_lose() -> None:
    assert struck("redis", "postgres") == set(LOSSES)
    assert struck("redis") == OF_PROCESSES | OF_BROKER | {Loss.REPLY_LOST}
    assert struck("rabbitmq", "redis") == OF_PROCESSES | OF_BROKER - {Loss.BROKER_EMPTIED} | {Loss.REPLY_LOST}
    assert struck("postgres") == OF_PROCESSES | OF_DATABASE | {Loss.REPLY_LOST}
    assert struck() == OF_PROCESSES | {Loss.REPLY_LOST}


def test_the_reply_that_is_lost_is_one_of_the_broker() -> None:
    assert scenario_name(Loss.REPLY_LOST, ("redis", "postgres")) == "cell-reply-lost-redis"
    assert scenario_name(Loss.REPLY_LOST, ("postgres", "redis")) == "cell-reply-lost-redis"
    assert scenario_name(Loss.REPLY_LOST, ("rabbitmq", "redis")) == "cell-reply-lost-rabbitmq"
    assert scenario_name(Loss.REPLY_LOST, ("postgres",)) == "cell-reply-lost-postgres"


@pytest.mark.parametrize("name", sorted(CELLS))
def test_a_cell_is_a_scenario_with_faults_of_its_loss(name: str) -> None:
    scenario = registry.scenario(name)
    [loss] = {getattr(fault, "loss", None) for fault in scenario.faults}
    server = next((one for one in (*SERVICES, "rabbitmq") if name.endswith(f"-{one}")), "")
    assert name.removeprefix("cell-").removesuffix(f"-{server}") == loss
    schedule = Schedule.of(scenario, seed=1, tasks=TASKS)
    assert len(schedule.arrivals) + len(schedule.final) == TASKS
    assert schedule.final, "a task after the faults shows that the target still works"


@pytest.mark.parametrize("name", ["cell-backends-terminated", "cell-reply-lost-postgres"])
def test_one_lost_connection_is_enough(name: str) -> None:
    scenario = registry.scenario(name)
    [loss] = {getattr(fault, "loss", None) for fault in scenario.faults}
    history = HistoryBuilder().injected("fault", InjectionKind.OTHER, pids=[], loss=loss).history
    assert len(scenario.faults) > 1
    assert scenario.checkers["faults"](history).verdict is Verdict.VALID


def test_every_cell_is_reached_by_some_target() -> None:
    needs = [("redis", "postgres"), ("postgres",), ("rabbitmq",)]
    assert {scenario_name(loss, one) for loss in LOSSES for one in needs} - {None} == set(CELLS)


def test_only_cells_that_strike_a_server_need_servers_of_their_own() -> None:
    for name, scenario in CELLS.items():
        is_of_server = not any(name == f"cell-{loss}" for loss in OF_PROCESSES)
        assert scenario.own_servers is is_of_server, name
        assert set(scenario.proxied) <= {*SERVICES, "rabbitmq"}
        assert bool(scenario.proxied) is name.startswith("cell-reply-lost")


def test_a_cell_is_no_scenario_of_all() -> None:
    assert not registry.scenarios().keys() & CELLS.keys()


def test_an_unknown_cell_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Did you mean cell-worker-killed"):
        registry.scenario("cell-worker-kiled")
