"""A fault of a network: what passes between the target and one of its servers is slow, stops, or is cut.

It strikes in a wire between them, so it needs neither root nor a kernel module, and it works on every backend.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harness.environments.base import Service
from harness.errors import GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.processes import descendants, owner_of_port
from harness.targets.pools import RunningPool
from harness.wire import Conditions, Direction, Wire, WireClient


class LinkCut(StrEnum):
    """What happens to the connections of a link at once."""

    CUT = "cut"
    """They end, and new ones are reset until the heal."""
    RESET = "reset"
    HALF_OPEN = "half-open"
    """The server loses them, and the client gets no answer any more until the heal ends them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DisturbLink:
    """Disturb the connections to a server for `seconds`: by conditions of the network, or by `cut`.

    `directions` limits the conditions, so that one direction only is dead or slow. `of_pool` strikes the processes of
    the oldest pool, and no other client. The scenario names the server in `proxied`.
    """

    service: Service
    at: float
    seconds: float = 2.0
    conditions: Conditions | None = None
    cut: LinkCut | None = None
    directions: tuple[Direction, ...] = tuple(Direction)
    of_pool: bool = False
    gated: bool = False
    kind: InjectionKind = InjectionKind.DISCONNECT

    def __post_init__(self) -> None:
        """Raises `UsageError` unless it has either conditions or a cut."""
        if (self.conditions is None) == (self.cut is None):
            raise UsageError("A disturbed link has either `conditions` or `cut`. Give one of them.")
        if self.cut is LinkCut.CUT and self.of_pool:
            raise UsageError(
                "A cut strikes all clients of a link. Leave `of_pool` out, or reset the connections."
            )

    @property
    def name(self) -> str:
        """The name in the history: `cut-redis`, `block-redis`, `slow-redis` and so on."""
        what = self.cut or ("block" if self.conditions is not None and self.conditions.blocked else "slow")
        return f"{what}-{self.service}"

    @property
    def loss(self) -> Loss | None:
        """A server that nothing reaches stands still for its clients; a slow one takes nothing from them."""
        if self.cut in (LinkCut.RESET, LinkCut.HALF_OPEN):
            return Loss.REPLY_LOST
        if self.conditions is not None and not self.conditions.blocked:
            return None
        return Loss.DATABASE_FROZEN if self.service == "postgres" else Loss.BROKER_FROZEN

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        self._wire(context)
        value = {"service": self.service, "seconds": self.seconds, "of_pool": self.of_pool}
        if self.conditions is not None:
            value["directions"] = [direction.name.lower() for direction in self.directions]
        return Aim(pids=(), pool=some_workers(context)[0], value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Disturb the link and wait; raises `GateError` if it has no client."""
        wire = self._wire(context)
        of = _of(aim.pool, wire) if self.of_pool else None
        if not any(of is None or of(client) for client in wire.clients):
            raise GateError(
                f"No connection to {self.service} leads through the proxy, so none was disturbed. "
                f"Check that the target uses the URL of {self.service} that it was given."
            )
        if self.conditions is not None:
            wire.put(self.conditions, *self.directions, of=of)
        match self.cut:
            case LinkCut.CUT:
                wire.cut()
            case LinkCut.RESET:
                wire.reset(of)
            case LinkCut.HALF_OPEN:
                wire.open_half(of)
        time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let everything pass, and end what is half open."""
        self._wire(context).clear()

    def _wire(self, context: FaultContext) -> Wire:
        wire = context.proxies.get(self.service)
        if wire is None:
            raise UsageError(
                f"This fault needs a proxy in front of {self.service}. Name it in the scenario: "
                f"proxied=({self.service!r},)."
            )
        return wire


def _of(pool: RunningPool, wire: Wire) -> Callable[[WireClient], bool]:
    """Whether a client of a wire is a process of a pool."""

    def is_of(client: WireClient) -> bool:
        return owner_of_port(client.port, (pool.pid, *descendants(pool.pid)), to=wire.port) is not None

    return is_of
