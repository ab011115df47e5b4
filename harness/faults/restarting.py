"""Faults that restart a server on its data: in order, as for an upgrade, or after a crash."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from harness.environments.base import LEADS_TO, Killable, Restartable, Service
from harness.environments.redis_connection import RedisFailure
from harness.environments.redis_writes import write_acknowledged
from harness.errors import UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss

_REFUSAL = (
    "This fault restarts servers, which this backend cannot do. Choose --backend embedded or containers."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartServer:
    """Stop a server, leave it down for `seconds`, and start it on the same port and data.

    The server is shut down in order, and saves what its settings say. With `crash` it gets SIGKILL instead. What Redis
    has acknowledged is in its append-only file by then: a task that is missing afterwards is the loss of the queue.
    """

    service: Service
    at: float
    seconds: float = 1.0
    crash: bool = False
    gated: bool = False
    kind: InjectionKind = InjectionKind.DISCONNECT

    @property
    def name(self) -> str:
        """The name in the history."""
        return f"{'crash' if self.crash else 'restart'}-{self.service}"

    @property
    def loss(self) -> Loss:
        """A restart of the database if the server is Postgres or a pooler before it, else of the broker."""
        is_database = LEADS_TO.get(self.service, self.service) == "postgres"
        return Loss.DATABASE_RESTARTED if is_database else Loss.BROKER_RESTARTED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        _restartable(context)
        pool, _ = some_workers(context)
        return Aim(pids=(), pool=pool, value={"service": self.service, "seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Stop the server and wait."""
        if self.crash:
            self._crash(context)
        else:
            _restartable(context).shut_down(self.service)
        time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start the server; returns once it answers."""
        _restartable(context).restart(self.service)

    def _crash(self, context: FaultContext) -> None:
        servers = killable(context)
        if self.service == "redis" and context.environment is not None:
            # A Redis that does not answer acknowledges nothing either.
            with suppress(RedisFailure):
                write_acknowledged(context.environment.endpoints.redis_url)
        servers.kill(self.service)


def restarts(service: Service) -> tuple[RestartServer, ...]:
    """Three restarts of a server: in order, after a crash, and in order again."""
    moments = ((0.2, False), (0.45, True), (0.7, False))
    return tuple(RestartServer(service=service, at=at, crash=crash) for at, crash in moments)


def _restartable(context: FaultContext) -> Restartable:
    servers: object = context.environment
    if not isinstance(servers, Restartable):
        raise UsageError(_REFUSAL)
    return servers


def killable(context: FaultContext) -> Killable:
    """The servers of a run, if the backend can kill them; else raises `UsageError`."""
    servers: object = context.environment
    if not isinstance(servers, Killable):
        raise UsageError(_REFUSAL)
    return servers
