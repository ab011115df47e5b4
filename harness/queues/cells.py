"""The scenarios of the table: one for each loss and server, equal for all targets.

Times that differ between targets come from their promises when the fault strikes. The checkers ask each target only for
what it promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from harness.checkers import duplicates, shutdown, standard
from harness.environments.base import Service
from harness.faults.backends import TerminateBackends
from harness.faults.base import Fault
from harness.faults.pausing import PausePool, StallServer
from harness.faults.process import kill_pool, kill_worker_at_gate, sigterm_pool
from harness.faults.redis_memory import FlushRedis
from harness.faults.replies import LoseReply
from harness.faults.restarting import RestartServer
from harness.history.promises import Loss
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

TASKS = 36
BUDGET_SECONDS = 120.0
"""The time-out of a cell; what a target promises for a later time is not waited for."""

POOL = PoolNeeds(workers=2, concurrency=2, lease=4.0, graceful_shutdown=3.0)
_SHUTDOWN_MARGIN_SECONDS = 3.0
# Longer than the usual socket time-outs of clients (5 s).
_FROZEN_SECONDS = 7.0

# Leaves slots free, so that a task reaches its gate soon.
_STEADY = NumberedTasks(rate=4.0, work=(0.1, 0.5))
# More than all slots can run, so that tasks are queued and running whenever a server fails.
_BACKLOG = NumberedTasks(rate=10.0, work=(0.3, 0.7))

_KILLS = (Loss.WORKER_KILLED, Loss.POOL_KILLED)
_STOPS = (Loss.SIGTERM, Loss.SIGTERM_LATE)
_CONNECTIONS = (Loss.REPLY_LOST, Loss.BACKENDS_TERMINATED)

_PROCESS_FAULTS: Mapping[Loss, tuple[Fault, ...]] = {
    Loss.WORKER_KILLED: tuple(kill_worker_at_gate(at=at) for at in (0.1, 0.35, 0.6)),
    Loss.POOL_KILLED: tuple(kill_pool(at=at) for at in (0.2, 0.6)),
    # Once, because it may last a minute.
    Loss.WORKER_PAUSED: (PausePool(at=0.3),),
    Loss.SIGTERM: tuple(sigterm_pool(at=at, graceful=POOL.graceful_shutdown) for at in (0.2, 0.6)),
    Loss.SIGTERM_LATE: tuple(
        sigterm_pool(at=at, graceful=POOL.graceful_shutdown, outlive=True) for at in (0.2, 0.6)
    ),
}

_BROKERS: tuple[Service, ...] = ("redis", "rabbitmq")
_DATABASE: tuple[Service, ...] = ("postgres",)
_SERVERS: Mapping[Loss, tuple[Service, ...]] = {
    Loss.BROKER_RESTARTED: _BROKERS,
    Loss.BROKER_EMPTIED: ("redis",),
    Loss.BROKER_FROZEN: _BROKERS,
    Loss.DATABASE_RESTARTED: _DATABASE,
    Loss.DATABASE_FROZEN: _DATABASE,
    Loss.BACKENDS_TERMINATED: _DATABASE,
    Loss.REPLY_LOST: (*_BROKERS, "postgres"),
}


def server_faults(loss: Loss, service: Service) -> tuple[Fault, ...]:
    """The faults of a loss that strikes a server; empty if the harness has none for this server."""
    match loss, service:
        case (Loss.BROKER_RESTARTED, _) | (Loss.DATABASE_RESTARTED, "postgres"):
            return tuple(RestartServer(service=service, at=at) for at in (0.25, 0.6))
        case Loss.BROKER_EMPTIED, "redis":
            return (FlushRedis(at=0.6),)
        case (Loss.BROKER_FROZEN, _) | (Loss.DATABASE_FROZEN, "postgres"):
            return (StallServer(service=service, at=0.4, seconds=_FROZEN_SECONDS),)
        case Loss.BACKENDS_TERMINATED, "postgres":
            return tuple(TerminateBackends(at=at) for at in (0.25, 0.45, 0.65))
        case Loss.REPLY_LOST, _:
            return tuple(LoseReply(service=service, at=at, replies=20, seconds=4.0) for at in (0.2, 0.6))
    return ()


def _scenario(loss: Loss, faults: Sequence[Fault], service: Service | None = None) -> Scenario:
    kills = len(faults) if loss in _KILLS else 0
    checkers = standard(
        recovery_p99="promised" if kills else None,
        concurrency=POOL.concurrency,
        # Of these one is enough: a target whose workers end with their connection has none for the next fault.
        minimum_faults=1 if loss in _CONNECTIONS else len(faults),
        minimum_kills=kills,
    )
    if loss in _STOPS:
        checkers["shutdown"] = shutdown(
            POOL.graceful_shutdown, _SHUTDOWN_MARGIN_SECONDS, minimum_running=len(faults)
        )
    elif not kills:
        checkers["duplicates"] = duplicates(len(faults) * POOL.workers * POOL.concurrency)
    where = "" if service is None else f" ({service})"
    return Scenario(
        name=cell_name(loss, service),
        summary=f"{loss.replace('-', ' ')}{where}, {len(faults)} times, in the table of queues",
        workload=_STEADY if service is None else _BACKLOG,
        faults=tuple(faults),
        checkers=checkers,
        pool=POOL,
        own_servers=service is not None,
        proxied=(service,) if service is not None and loss is Loss.REPLY_LOST else (),
        timeout=BUDGET_SECONDS,
    )


def cell_name(loss: Loss, service: Service | None = None) -> str:
    """The name of a cell's scenario on the command line; it names the server if the loss can strike several."""
    return f"cell-{loss}" if service is None or _SERVERS[loss] == _DATABASE else f"cell-{loss}-{service}"


def _cells() -> dict[str, Scenario]:
    found = [_scenario(loss, faults) for loss, faults in _PROCESS_FAULTS.items()]
    found += [
        _scenario(loss, server_faults(loss, service), service)
        for loss, services in _SERVERS.items()
        for service in services
    ]
    return {one.name: one for one in found}


CELLS: Mapping[str, Scenario] = MappingProxyType(_cells())
"""The scenarios by name."""

LOSSES: tuple[Loss, ...] = (*_PROCESS_FAULTS, *_SERVERS)
"""The columns of the table."""


def scenario_name(loss: Loss, needs: Sequence[str]) -> str | None:
    """The scenario of a loss for a target that needs these services; None if the loss cannot strike it.

    The broker of a target is the first service that is not Postgres. Without one, Postgres is the broker: then the
    losses of the database are asked, and only the lost reply of the broker.
    """
    if loss in _PROCESS_FAULTS:
        return cell_name(loss)
    servers = _SERVERS.get(loss, ())
    broker = next((service for service in needs if service != "postgres"), "postgres")
    struck = needs if servers == _DATABASE else (broker,)
    service = next((one for one in servers if one in struck), None)
    return None if service is None else cell_name(loss, service)
