"""Faults that restart a server or lose its replies, on servers that record what is done to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.environments.base import Endpoints, Service
from harness.errors import GateError, HarnessError, UsageError
from harness.faults.backends import TerminateBackends
from harness.faults.base import Aim, Fault, FaultContext
from harness.faults.failing_over import FreezePrimary, KillPrimary
from harness.faults.replies import LoseReply
from harness.faults.restarting import RestartServer
from harness.history.promises import Loss
from harness.scenario.schedule import plan_faults


class RecordingServers:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Service]] = []
        # No server: port 1 refuses connections.
        self.endpoints = Endpoints(database_url="", redis_url="redis://127.0.0.1:1/0")

    def kill(self, service: Service) -> None:
        self.calls.append(("kill", service))

    def shut_down(self, service: Service) -> None:
        self.calls.append(("shut down", service))

    def restart(self, service: Service) -> None:
        self.calls.append(("restart", service))


class LossyProxy:
    """Loses the replies for which `outcomes` says so."""

    def __init__(self, *outcomes: bool) -> None:
        self._outcomes = list(outcomes)
        self.skipped: list[int] = []
        self.to: list[bytes] = []
        self.at_least: list[int] = []

    def lose_reply(self, *, skip: int, within: float, at_least: int, to: bytes) -> bool:
        self.skipped.append(skip)
        self.to.append(to)
        self.at_least.append(at_least)
        return self._outcomes.pop(0)


def context_of(environment: Any = None, **proxies: Any) -> FaultContext:
    pool: Any = SimpleNamespace(worker_pids=lambda: [1], name="pool-1")
    pools: Any = SimpleNamespace(running=lambda: [pool])
    gates: Any = None
    return FaultContext(gates=gates, pools=pools, environment=environment, proxies=proxies)


def carry_out(fault: Fault, context: FaultContext, seed: int = 1) -> Aim:
    [planned] = plan_faults([fault], seed=seed, due=[0.0])
    aim = fault.aim(context, planned)
    fault.inject(context, planned, aim)
    fault.heal(context, planned, aim)
    return aim


@pytest.mark.parametrize(
    ("crash", "stop", "name"), [(False, "shut down", "restart"), (True, "kill", "crash")]
)
@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_a_server_is_stopped_and_started_again(service: Service, crash: bool, stop: str, name: str) -> None:
    servers = RecordingServers()
    fault = RestartServer(service=service, at=0.0, seconds=0.0, crash=crash)
    aim = carry_out(fault, context_of(servers))
    assert servers.calls == [(stop, service), ("restart", service)]
    assert fault.name == f"{name}-{service}"
    assert (aim.pids, aim.value["service"]) == ((), service)


class ReplicatedServers(RecordingServers):
    def fail_over(self, service: Service, *, lag: float = 0.0, frozen: bool = False) -> None:
        self.calls.append((f"fail over {lag:g} {frozen}", service))

    def rejoin(self, service: Service) -> None:
        self.calls.append(("rejoin", service))


@pytest.mark.parametrize(
    ("fault", "call", "name", "loss"),
    [
        (KillPrimary(service="redis", at=0.0, lag=2.0), "2 False", "kill", Loss.BROKER_TAIL_LOST),
        (KillPrimary(service="postgres", at=0.0), "0 False", "kill", Loss.DATABASE_RESTARTED),
        (FreezePrimary(at=0.0, seconds=0.0), "0 True", "freeze", Loss.BROKER_TAIL_LOST),
    ],
)
def test_a_primary_is_replaced_and_comes_back(
    fault: KillPrimary | FreezePrimary, call: str, name: str, loss: Loss
) -> None:
    servers = ReplicatedServers()
    carry_out(fault, context_of(servers))
    assert servers.calls == [(f"fail over {call}", fault.service), ("rejoin", fault.service)]
    assert (fault.name, fault.loss) == (f"{name}-{fault.service}-primary", loss)


@pytest.mark.parametrize("fault", [KillPrimary(service="redis", at=0.0), FreezePrimary(at=0.0)])
def test_single_servers_have_no_primary_to_lose(fault: Fault) -> None:
    with pytest.raises(UsageError, match="Give its scenario a `topology`"):
        carry_out(fault, context_of(RecordingServers()))


@pytest.mark.parametrize(
    ("service", "loss"),
    [
        ("postgres", Loss.DATABASE_RESTARTED),
        ("pgbouncer", Loss.DATABASE_RESTARTED),
        ("redis", Loss.BROKER_RESTARTED),
    ],
)
def test_a_pooler_that_is_away_is_a_database_that_is_away(service: Service, loss: Loss) -> None:
    assert RestartServer(service=service, at=0.0).loss is loss


@pytest.mark.parametrize("crash", [False, True])
def test_servers_that_cannot_be_restarted_are_refused_with_a_remedy(crash: bool) -> None:
    with pytest.raises(UsageError, match="--backend embedded"):
        carry_out(RestartServer(service="redis", at=0.0, seconds=0.0, crash=crash), context_of(object()))


def test_connections_of_a_run_without_servers_cannot_be_terminated() -> None:
    with pytest.raises(HarnessError, match="no Postgres"):
        carry_out(TerminateBackends(at=0.0), context_of())


def test_replies_are_lost_through_the_proxy_of_the_service() -> None:
    redis, postgres = LossyProxy(True, False, True), LossyProxy()
    fault = LoseReply(service="redis", at=0.0, replies=3, seconds=0.0)
    aim = carry_out(fault, context_of(redis=redis, postgres=postgres))
    assert len(redis.skipped) == 3
    # Else most of them would be empty answers to polls, and a run would show little.
    assert [bytes_ > 10 for bytes_ in redis.at_least] == [True, False, True]
    assert redis.to == [b""] * 3
    assert postgres.skipped == []
    assert dict(aim.value) == {"service": "redis", "replies": 3, "seconds": 0.0}


def test_every_second_lost_reply_of_postgres_is_that_of_a_commit() -> None:
    postgres = LossyProxy(*[True] * 4)
    carry_out(LoseReply(service="postgres", at=0.0, replies=4, seconds=0.0), context_of(postgres=postgres))
    assert postgres.to == [b"", b"COMMIT"] * 2
    assert [bytes_ > 10 for bytes_ in postgres.at_least] == [True, False] * 2


def test_the_seed_chooses_which_replies_are_lost() -> None:
    first, again, other = (LossyProxy(*[True] * 9) for _ in range(3))
    for proxy, seed in ((first, 1), (again, 1), (other, 2)):
        carry_out(LoseReply(service="redis", at=0.0, replies=9, seconds=0.0), context_of(redis=proxy), seed)
    assert first.skipped == again.skipped != other.skipped


def test_a_run_in_which_no_reply_was_lost_shows_nothing() -> None:
    with pytest.raises(GateError, match="No reply of redis"):
        carry_out(
            LoseReply(service="redis", at=0.0, replies=2, seconds=0.0),
            context_of(redis=LossyProxy(False, False)),
        )


def test_a_scenario_that_names_no_proxy_is_refused_with_a_remedy() -> None:
    with pytest.raises(UsageError, match=r"proxied=\('postgres',\)"):
        carry_out(LoseReply(service="postgres", at=0.0), context_of(redis=LossyProxy()))
