"""Draws a plan from a seed. The same seed gives the same plan as long as this module does not change."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.simulation.plan import FaultKind, Plan, PlannedTask, SimulatedFault, Theme

TASKS = (20, 22)
FAULTS = (10, 12)
# Seconds over which tasks arrive and faults strike.
ARRIVALS = 4.0
# Seconds within which faults strike at processes that make few calls, or that soon have nothing left to enqueue.
EARLY = 3.0
RARELY_CALLING = frozenset({FaultKind.KILL_PRODUCER, FaultKind.PRODUCER_LOSES_REPLY, FaultKind.KILL_PARENT})
# Half of all plans are mixed: they find what only a combination of several kinds of faults can cause.
THEMES = (Theme.MIXED,) * 3 + (Theme.SHUTDOWNS, Theme.KILLS, Theme.LOCKS)
DURATIONS: Mapping[FaultKind, Sequence[float]] = MappingProxyType(
    {
        FaultKind.STALL_WORKER: (0.3, 1.1, 2.5, 4.0),
        FaultKind.LATE_REQUEST: (0.1, 0.7, 3.0),
        FaultKind.REDIS_AWAY: (0.1, 0.8, 2.5),
        FaultKind.REDIS_FAILS_OVER: (0.05, 0.4, 1.0),  # age of the state that it falls back to
        FaultKind.REDIS_CLOCK: (-5.0, -0.5, 0.5, 5.0),
        FaultKind.POSTGRES_AWAY: (0.1, 0.8, 2.5),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Style:
    """The choices from which the plans of a theme are drawn. Times are seconds.

    `failures` are the weights of 0, 1, 2 and 5 failures of a handler.
    """

    kinds: Sequence[FaultKind]
    work: Sequence[float] = (0.0, 0.02, 0.2, 0.6)
    failures: Sequence[int] = (12, 3, 1, 1)
    locks: Sequence[str | None] = (None,) * 6 + ("a", "b")
    durations: Mapping[FaultKind, Sequence[float]] = field(default_factory=lambda: DURATIONS)
    workers: Sequence[int] = (1, 2)


_STYLES = {
    Theme.MIXED: _Style(kinds=tuple(FaultKind)),
    # Handlers that run longer than the graceful time-out: each stop releases their leases.
    Theme.SHUTDOWNS: _Style(kinds=(FaultKind.TERMINATE_POOL,), work=(0.02, 0.2, 0.6, 1.2)),
    Theme.KILLS: _Style(
        kinds=(FaultKind.KILL_WORKER, FaultKind.KILL_PARENT, FaultKind.KILL_POOL),
        workers=(2,),  # enough slots for the kills of a plan: `nemesis.KILLS_PER_SLOT`
    ),
    # Leases that expire between the change of the activity and the reply of the queue.
    Theme.LOCKS: _Style(
        kinds=(
            FaultKind.STALL_WORKER,
            FaultKind.STALL_WORKER,
            FaultKind.LATE_REQUEST,
            FaultKind.LOSE_REPLY,
            FaultKind.KILL_WORKER,
        ),
        work=(0.0, 0.02, 0.2),
        failures=(3, 3, 3, 0),
        locks=("a", "b"),
        durations={**DURATIONS, FaultKind.STALL_WORKER: (2.5, 4.0), FaultKind.LATE_REQUEST: (0.7, 3.0)},
        workers=(2,),  # while one is stalled, the other takes over
    ),
}


def plan_of(seed: int) -> Plan:
    """The plan of a seed, drawn deterministically."""
    rng = random.Random(f"plan {seed}")  # noqa: S311 - repeatable, not secret
    theme = rng.choice(THEMES)
    style = _STYLES[theme]
    tasks = tuple(_task(rng, number, style) for number in range(rng.randint(*TASKS)))
    faults = [_fault(rng, len(tasks), style) for _ in range(rng.randint(*FAULTS))]
    pools = rng.randint(1, 2)
    return Plan(
        seed=seed,
        pools=pools,
        workers=rng.choice(style.workers),
        tasks=tasks,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        theme=theme,
        hosts=rng.randint(1, 2),
        two_versions=theme is Theme.MIXED and pools > 1,
    )


def _task(rng: random.Random, number: int, style: _Style) -> PlannedTask:
    return PlannedTask(
        number=number,
        at=round(rng.uniform(0.0, ARRIVALS), 3),
        work=round(rng.choice(style.work) * rng.uniform(0.5, 1.5), 3),
        failures=rng.choices((0, 1, 2, 5), style.failures)[0],
        progress=rng.choices((0, 1, 3), (3, 1, 1))[0],
        lock=rng.choice(style.locks),
        late_lock=rng.random() < 0.3,
        level=rng.choice((0, 1)),
        delay=rng.choices((0.0, 0.5), (6, 1))[0],
    )


def _fault(rng: random.Random, tasks: int, style: _Style) -> SimulatedFault:
    kind = rng.choice(style.kinds)
    return SimulatedFault(
        kind=kind,
        at=round(rng.uniform(0.3, EARLY if kind in RARELY_CALLING else ARRIVALS), 3),
        victim=rng.randrange(tasks) if kind is FaultKind.CANCEL else rng.randrange(8),
        skip=rng.choice((0, 0, 1, 2, 5)),
        after=_after(rng, kind),
        seconds=rng.choice(style.durations.get(kind, (0.0,))),
    )


def _after(rng: random.Random, kind: FaultKind) -> bool:
    """Whether a fault strikes after the server's work; lost replies always do, lost and late requests never do."""
    if kind in (FaultKind.LOSE_REPLY, FaultKind.PRODUCER_LOSES_REPLY):
        return True
    return kind not in (FaultKind.LOSE_REQUEST, FaultKind.LATE_REQUEST) and rng.random() < 0.5
