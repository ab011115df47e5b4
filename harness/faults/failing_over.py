"""Faults that take the primary of a service that has replicas: another server becomes the primary."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.environments.base import FailsOver, Service
from harness.errors import UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class KillPrimary:
    """SIGKILL the primary: another server replaces it, and the lost one comes back as its replica.

    With `lag`, the replicas receive nothing in the last seconds before: what the primary acknowledged then is lost.
    Sources: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/ (asynchronous replicas) and
    https://www.postgresql.org/docs/current/warm-standby.html (section "Synchronous Replication").
    """

    service: Service
    at: float
    lag: float = 0.0
    gated: bool = False

    @property
    def name(self) -> str:
        """The name in the history."""
        return f"kill-{self.service}-primary"

    @property
    def kind(self) -> InjectionKind:
        """A loss of data for Redis, whose replicas are asynchronous; for Postgres, the end of its connections."""
        return InjectionKind.DISCONNECT if self.service == "postgres" else InjectionKind.DATA_LOSS

    @property
    def loss(self) -> Loss:
        """A restart of the database, or the end of what the broker has."""
        return Loss.DATABASE_RESTARTED if self.service == "postgres" else Loss.BROKER_TAIL_LOST

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _servers(context)
        return Aim(
            pids=(), pool=some_workers(context)[0], value={"service": self.service, "seconds": self.lag}
        )

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Kill the primary; returns once another server is the primary."""
        _servers(context).fail_over(self.service, lag=self.lag)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start the lost server as a replica; returns once all are in step."""
        _servers(context).rejoin(self.service)


@dataclass(frozen=True, kw_only=True, slots=True)
class FreezePrimary:
    """SIGSTOP the primary of Redis until another server has replaced it, and for `seconds` more; then SIGCONT.

    It comes back with the connections that it had, as a primary that knows of no other, until a Sentinel demotes it.
    What it acknowledges until then is lost.
    """

    at: float
    seconds: float = 1.0
    gated: bool = False
    name: str = "freeze-redis-primary"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.BROKER_TAIL_LOST
    service: Service = "redis"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _servers(context)
        return Aim(
            pids=(), pool=some_workers(context)[0], value={"service": self.service, "seconds": self.seconds}
        )

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Freeze the primary; returns some time after another server is the primary."""
        _servers(context).fail_over(self.service, frozen=True)
        time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Resume the server; returns once it is a replica and all are in step."""
        _servers(context).rejoin(self.service)


def _servers(context: FaultContext) -> FailsOver:
    servers: object = context.environment
    if not isinstance(servers, FailsOver):
        raise UsageError(
            "This fault needs servers with replicas. Give its scenario a `topology`, and run it by "
            "`harness chaos run` with --backend embedded."
        )
    return servers
