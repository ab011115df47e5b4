"""Faults of many kinds in one run, spread evenly over its tasks.

These are all kinds that one run can have. The others, and why not:

- `KillPrimary`, `FreezePrimary`, a restart of PgBouncer: their servers have a topology, and a run has one of them.
- `KillByCommand`: the workers are those of a user.
- `StartService`: it grants no grace, so it rightly cancels what an eviction before it has taken from the queue.
- `BackUp`, `RestoreBackup`: the evidence of a whole backup goes into the history each time, and what a restoration
  takes is excused for every task before it: the other faults would be asked less.
- `DisturbEndpoint`: it takes nothing from the queue, and the run would serve a model to each of its tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from random import Random

from harness.environments.base import Service
from harness.faults.backends import TerminateBackends
from harness.faults.base import Fault
from harness.faults.chores import CleanUp, MigrateSchema
from harness.faults.clock import JumpClock
from harness.faults.deadlock_storm import DeadlockStorm
from harness.faults.full_disk import FillDisk
from harness.faults.handler import HandlerBlocks, HandlerExits, KillForkedWorker, poison
from harness.faults.held_state import HoldState
from harness.faults.links import DisturbLink, LinkCut
from harness.faults.memory import ExceedMemoryGroup, ExhaustMemory, KillLeakingWorker
from harness.faults.pausing import PausePool, PauseWorker, StallServer
from harness.faults.postgres_states import (
    BackendsTerminated,
    ConnectionsExhausted,
    ReadOnly,
    StatementsCanceled,
    TablesLocked,
)
from harness.faults.postgres_tail import LosePostgresTail
from harness.faults.process import (
    ScaleToZero,
    kill_pool,
    kill_random_worker,
    kill_worker_at_gate,
    replace_pool,
    sigterm_pool,
)
from harness.faults.producers import KillProducer
from harness.faults.redis_memory import FailOverRedis, FlushRedis
from harness.faults.redis_states import (
    Busy,
    ClientsKilled,
    Evicting,
    MemoryFull,
    PasswordChanged,
    ReadOnlyReplica,
)
from harness.faults.redis_tail import LoseRedisTail
from harness.faults.replies import LoseReply
from harness.faults.restarting import RestartServer
from harness.faults.starving import StarveWorkers
from harness.wire import Conditions, Direction, Moment

PRODUCERS = 2
"""How many producers a scenario of these faults has: one goes on while another is killed."""
PROXIED: tuple[Service, ...] = ("redis", "postgres")
"""The servers that it has behind a wire."""

_Kind = Callable[[float], Fault]

# Some systems charge no task of a worker that ran several: eight times are enough for five crashes in agentexec.
_POISONED = 8
# A kill of its worker takes a second or two.
_PLACES_OF_POISON = 3
# The tables fit on the small disk only so long: they grow by some kilobytes a task.
_EARLY_SHARE = 1 / 30
_SLOW = Conditions(latency=0.03, jitter=0.05, bandwidth=100_000, slow_close=0.5)
_SLICED = Conditions(slice_bytes=16, slice_seconds=0.001)
_BLACK_HOLE = Conditions(blocked=True)
_ANSWERS, _REQUESTS = (Direction.TO_CLIENT,), (Direction.TO_SERVER,)
_STATES = (
    *(Busy(), ClientsKilled(), Evicting(), MemoryFull(), PasswordChanged(), ReadOnlyReplica()),
    *(BackendsTerminated(), ConnectionsExhausted(), ReadOnly(), StatementsCanceled(), TablesLocked()),
)


def mixed(count: int, *, graceful: float) -> tuple[Fault, ...]:
    """`count` faults of many kinds, each about equally often; `graceful` is the time-out of a pool, in seconds.

    The order is mixed, and always the same: the seed of a run decides the moments. One task is poison from the start:
    no fault before can refuse it, and it has to stay a dead letter whatever comes. Its faults have their places for
    themselves: a task that waits at a gate beside it would be a suspect each time.
    """
    draw = Random(count)  # noqa: S311 - a schedule, not a secret
    kinds = [*_kinds(graceful), _fill_postgres]
    chosen = [kinds[number % len(kinds)] for number in range(count - _POISONED)]
    order = [kind for kind in chosen if kind is not _fill_postgres]
    draw.shuffle(order)
    for _ in range(len(chosen) - len(order)):
        order.insert(draw.randrange(int(_EARLY_SHARE * count)), _fill_postgres)
    number = _PLACES_OF_POISON + len(order)
    first, *places = [(place + 0.5) / number for place in range(number)]
    others = (kind(at) for kind, at in zip(order, places[_PLACES_OF_POISON - 1 :], strict=True))
    return (*poison(at=first, times=_POISONED), *others)


def number_of_kinds() -> int:
    """How many faults hold each kind once."""
    return len(_kinds(graceful=0.0)) + 1 + _POISONED


def _fill_postgres(at: float) -> Fault:
    return FillDisk(service="postgres", at=at, seconds=1.0)


def _kinds(graceful: float) -> list[_Kind]:
    """Those that can strike at any place of a run."""
    return [*_of_processes(graceful), *_of_servers(), *_of_links()]


def _of_processes(graceful: float) -> list[_Kind]:
    return [
        lambda at: kill_worker_at_gate(at=at),
        lambda at: kill_random_worker(at=at),
        lambda at: kill_pool(at=at),
        lambda at: sigterm_pool(at=at, graceful=graceful),
        lambda at: sigterm_pool(at=at, graceful=graceful, outlive=True),
        lambda at: replace_pool(at=at, graceful=graceful, beside=1.0),
        lambda at: ScaleToZero(at=at, graceful=graceful, seconds=1.0),
        lambda at: HandlerExits(at=at),
        lambda at: HandlerBlocks(at=at, seconds=1.0),
        lambda at: KillForkedWorker(at=at),
        lambda at: ExhaustMemory(at=at, seconds=1.0),
        lambda at: KillLeakingWorker(at=at),
        lambda at: ExceedMemoryGroup(at=at),
        lambda at: JumpClock(at=at),
        lambda at: PauseWorker(at=at),
        lambda at: PausePool(at=at),
        lambda at: StarveWorkers(at=at),
        *(
            lambda at, service=service, moment=moment: KillProducer(service=service, moment=moment, at=at)
            for service in PROXIED
            for moment in (Moment.BEFORE, Moment.AFTER)
        ),
    ]


def _of_servers() -> list[_Kind]:
    back = cycle((True, False))
    return [
        lambda at: FlushRedis(at=at),
        lambda at: FailOverRedis(at=at, lag=1.0),
        lambda at: LoseRedisTail(at=at, lag=1.0),
        lambda at: LosePostgresTail(at=at),
        lambda at: FillDisk(service="redis", at=at, seconds=1.0),
        lambda at: TerminateBackends(at=at),
        lambda at: StallServer(service="redis", at=at, seconds=1.0),
        lambda at: StallServer(service="postgres", at=at, seconds=1.0, kill=True),
        *(
            lambda at, service=service, crash=crash: RestartServer(service=service, at=at, crash=crash)
            for service in PROXIED
            for crash in (False, True)
        ),
        *(lambda at, state=state: HoldState(state=state, at=at, seconds=1.0) for state in _STATES),
        lambda at: HoldState(state=DeadlockStorm(), at=at, seconds=3.0),
        lambda at: CleanUp(at=at, seconds=1.0),
        lambda at: MigrateSchema(at=at, previous=next(back)),
    ]


def _of_links() -> list[_Kind]:
    return [kind for service in PROXIED for kind in _of_link(service)]


def _of_link(service: Service) -> Iterator[_Kind]:
    one_way = _ANSWERS if service == "redis" else _REQUESTS
    yield lambda at: LoseReply(service=service, at=at, seconds=1.0)
    yield lambda at: DisturbLink(service=service, at=at, conditions=_SLOW)
    yield lambda at: DisturbLink(service=service, at=at, conditions=_SLICED, directions=_ANSWERS)
    yield lambda at: DisturbLink(
        service=service, at=at, seconds=4.0, conditions=_BLACK_HOLE, directions=one_way, of_pool=True
    )
    yield lambda at: DisturbLink(service=service, at=at, cut=LinkCut.HALF_OPEN, of_pool=True)
    yield lambda at: DisturbLink(service=service, at=at, seconds=1.0, cut=LinkCut.RESET)
    yield lambda at: DisturbLink(service=service, at=at, seconds=1.0, cut=LinkCut.CUT)
