"""Faults of many kinds in one run, spread evenly over its tasks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from harness.faults.backends import TerminateBackends
from harness.faults.base import Fault
from harness.faults.handler import HandlerBlocks, HandlerExits, KillForkedWorker
from harness.faults.held_state import HoldState
from harness.faults.pausing import PauseWorker, StallServer
from harness.faults.postgres_states import (
    BackendsTerminated,
    ConnectionsExhausted,
    ReadOnly,
    StatementsCanceled,
    TablesLocked,
)
from harness.faults.process import (
    ScaleToZero,
    kill_pool,
    kill_random_worker,
    kill_worker_at_gate,
    sigterm_pool,
)
from harness.faults.redis_memory import FlushRedis
from harness.faults.redis_states import (
    Busy,
    ClientsKilled,
    Evicting,
    MemoryFull,
    PasswordChanged,
    ReadOnlyReplica,
)
from harness.faults.redis_tail import LoseRedisTail
from harness.faults.restarting import RestartServer
from harness.faults.starving import StarveWorkers

_STATES = (
    *(Busy(), ClientsKilled(), Evicting(), MemoryFull(), PasswordChanged(), ReadOnlyReplica()),
    *(BackendsTerminated(), ConnectionsExhausted(), ReadOnly(), StatementsCanceled(), TablesLocked()),
)


def mixed(count: int, *, graceful: float) -> tuple[Fault, ...]:
    """`count` faults of many kinds, each about equally often; `graceful` is the time-out of a pool, in seconds.

    The order is mixed, and always the same: the seed of a run decides the moments.
    """
    kinds = _kinds(graceful)
    order = [kinds[number % len(kinds)] for number in range(count)]
    Random(count).shuffle(order)  # noqa: S311 - a schedule, not a secret
    return tuple(kind((number + 0.5) / count) for number, kind in enumerate(order))


def _kinds(graceful: float) -> list[Callable[[float], Fault]]:
    return [
        lambda at: kill_worker_at_gate(at=at),
        lambda at: kill_random_worker(at=at),
        lambda at: kill_pool(at=at),
        lambda at: sigterm_pool(at=at, graceful=graceful),
        lambda at: sigterm_pool(at=at, graceful=graceful, outlive=True),
        lambda at: ScaleToZero(at=at, graceful=graceful, seconds=1.0),
        lambda at: HandlerExits(at=at),
        lambda at: HandlerBlocks(at=at, seconds=1.0),
        lambda at: KillForkedWorker(at=at),
        lambda at: PauseWorker(at=at),
        lambda at: StarveWorkers(at=at),
        lambda at: FlushRedis(at=at),
        lambda at: LoseRedisTail(at=at, lag=1.0),
        lambda at: TerminateBackends(at=at),
        lambda at: StallServer(service="redis", at=at, seconds=1.0),
        lambda at: StallServer(service="postgres", at=at, seconds=1.0, kill=True),
        *(
            lambda at, service=service, crash=crash: RestartServer(service=service, at=at, crash=crash)
            for service in ("redis", "postgres")
            for crash in (False, True)
        ),
        *(lambda at, state=state: HoldState(state=state, at=at, seconds=1.0) for state in _STATES),
    ]
