"""Faults of a link: what they do to the wire, what they take from the system, and what is no such fault."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import GateError, UsageError
from harness.faults.base import FaultContext
from harness.faults.links import DisturbLink, LinkCut
from harness.history.promises import Loss
from harness.processes import owner_of_port
from harness.scenario.schedule import plan_faults
from harness.wire import Conditions, Direction, WireClient

BLOCKED = Conditions(blocked=True)
ANSWERS = (Direction.TO_CLIENT,)


class RecordingWire:
    """Records what is done to it, and to which of its clients."""

    def __init__(self, *ports: int, port: int = 1) -> None:
        self.port = port
        self.clients = [WireClient(port=port, name="") for port in ports]
        self.calls: list[tuple[object, ...]] = []

    def put(self, conditions: Conditions, *directions: Direction, of: Any) -> None:
        self.calls.append((conditions, directions, self._chosen(of)))

    def reset(self, of: Any) -> None:
        self.calls.append(("reset", self._chosen(of)))

    def open_half(self, of: Any) -> None:
        self.calls.append(("half-open", self._chosen(of)))

    def cut(self) -> None:
        self.calls.append(("cut",))

    def clear(self) -> None:
        self.calls.append(("clear",))

    def _chosen(self, of: Any) -> list[int]:
        return [client.port for client in self.clients if of is None or of(client)]


def carry_out(fault: DisturbLink, **wires: Any) -> list[tuple[object, ...]]:
    pool: Any = SimpleNamespace(worker_pids=lambda: [1], name="pool-1", pid=os.getpid())
    pools: Any = SimpleNamespace(running=lambda: [pool])
    gates: Any = None
    context = FaultContext(gates=gates, pools=pools, proxies=wires)
    [planned] = plan_faults([fault], seed=1, due=[0.0])
    aim = fault.aim(context, planned)
    fault.inject(context, planned, aim)
    fault.heal(context, planned, aim)
    calls: list[tuple[object, ...]] = wires[fault.service].calls
    return calls


@pytest.mark.parametrize(
    ("fault", "called", "name", "loss"),
    [
        (
            {"conditions": BLOCKED, "directions": ANSWERS},
            (BLOCKED, ANSWERS, [7, 8]),
            "block",
            Loss.BROKER_FROZEN,
        ),
        (
            {"conditions": Conditions(latency=1)},
            (Conditions(latency=1), tuple(Direction), [7, 8]),
            "slow",
            None,
        ),
        ({"cut": LinkCut.CUT}, ("cut",), "cut", Loss.BROKER_FROZEN),
        ({"cut": LinkCut.RESET}, ("reset", [7, 8]), "reset", Loss.REPLY_LOST),
        ({"cut": LinkCut.HALF_OPEN}, ("half-open", [7, 8]), "half-open", Loss.REPLY_LOST),
    ],
)
def test_a_link_is_disturbed_and_healed(
    fault: dict[str, Any], called: tuple[object, ...], name: str, loss: Loss | None
) -> None:
    disturbing = DisturbLink(service="redis", at=0.0, seconds=0.0, **fault)
    assert carry_out(disturbing, redis=RecordingWire(7, 8)) == [called, ("clear",)]
    assert (disturbing.name, disturbing.loss) == (f"{name}-redis", loss)


def test_only_the_processes_of_a_pool_are_struck() -> None:
    fault = DisturbLink(service="redis", at=0.0, seconds=0.0, conditions=BLOCKED, of_pool=True)
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.create_connection(server.getsockname())) as own,
    ):
        port = own.getsockname()[1]
        [(_, _, chosen), _] = carry_out(fault, redis=RecordingWire(1, port, port=server.getsockname()[1]))
    assert chosen == [port]
    with pytest.raises(GateError, match="No connection to redis"):
        carry_out(fault, redis=RecordingWire(1))


@pytest.mark.parametrize("has_tables", [True, False])
def test_the_owner_of_a_connection_is_found_by_its_port(
    has_tables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_tables:
        monkeypatch.setattr("harness.processes._TABLES", (Path("/no/such/table"),))
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.create_connection(server.getsockname())) as own,
    ):
        port, to = own.getsockname()[1], server.getsockname()[1]
        assert owner_of_port(port, [1, os.getpid()], to=to) == os.getpid()
        assert owner_of_port(port, [os.getppid()], to=to) is None
        # Another process may have a connection from the same port to another one.
        assert owner_of_port(port, [os.getpid()], to=to - 1) is None
    assert owner_of_port(port, [os.getpid()], to=to) is None


def test_what_is_no_disturbance_is_refused() -> None:
    with pytest.raises(UsageError, match="either `conditions` or `cut`"):
        DisturbLink(service="redis", at=0.0)
    with pytest.raises(UsageError, match="strikes all clients"):
        DisturbLink(service="redis", at=0.0, cut=LinkCut.CUT, of_pool=True)
    with pytest.raises(UsageError, match=r"proxied=\('redis',\)"):
        carry_out(DisturbLink(service="redis", at=0.0, cut=LinkCut.CUT), postgres=RecordingWire(1))
