"""From a seed to a plan: the same one for ever, as long as this module stays as it is."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.simulation.plan import FaultKind, Plan, PlannedTask, SimulatedFault, Theme

TASKS = (20, 22)
FAULTS = (10, 12)
ARRIVALS = 4.0  # seconds over which tasks arrive and faults strike
EARLY = 3.0  # seconds within which whoever calls seldom, or has nothing left to enqueue soon, has to be hit
SELDOM_CALLING = frozenset({FaultKind.KILL_PRODUCER, FaultKind.PRODUCER_LOSES_REPLY, FaultKind.KILL_PARENT})
# Half of all plans are mixed: what only several kinds of faults together can do is found there.
THEMES = (Theme.MIXED,) * 3 + (Theme.SHUTDOWNS, Theme.KILLS, Theme.LOCKS)
LASTING: Mapping[FaultKind, Sequence[float]] = MappingProxyType(
    {
        FaultKind.STALL_WORKER: (0.3, 1.1, 2.5, 4.0),
        FaultKind.LATE_REQUEST: (0.1, 0.7, 3.0),
        FaultKind.REDIS_AWAY: (0.1, 0.8, 2.5),
        FaultKind.REDIS_FAILS_OVER: (0.05, 0.4, 1.0),  # how old what it falls back to is
        FaultKind.REDIS_CLOCK: (-5.0, -0.5, 0.5, 5.0),
        FaultKind.POSTGRES_AWAY: (0.1, 0.8, 2.5),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Style:
    """How the plans of a theme are drawn: which faults strike, how long the handlers work, how often they fail (with
    weights for 0, 1, 2 and 5 times), which lock keys they have, and how many workers a pool has.
    """

    kinds: Sequence[FaultKind]
    work: Sequence[float] = (0.0, 0.02, 0.2, 0.6)
    failures: Sequence[int] = (12, 3, 1, 1)
    locks: Sequence[str | None] = (None,) * 6 + ("a", "b")
    lasting: Mapping[FaultKind, Sequence[float]] = field(default_factory=lambda: LASTING)
    workers: Sequence[int] = (1, 2)


_STYLES = {
    Theme.MIXED: _Style(kinds=tuple(FaultKind)),
    # Handlers that no stop waits for to the end: each of them gives its task back again and again.
    Theme.SHUTDOWNS: _Style(kinds=(FaultKind.TERMINATE_POOL,), work=(0.02, 0.2, 0.6, 1.2)),
    Theme.KILLS: _Style(
        kinds=(FaultKind.KILL_WORKER, FaultKind.KILL_PARENT, FaultKind.KILL_POOL),
        workers=(2,),  # enough slots for the kills of a plan, see `nemesis.KILLS_PER_SLOT`
    ),
    # Leases that run out between what the record was told and what the queue hears of it.
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
        lasting={**LASTING, FaultKind.STALL_WORKER: (2.5, 4.0), FaultKind.LATE_REQUEST: (0.7, 3.0)},
        workers=(2,),  # while one stands still, another has to take over
    ),
}


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")  # noqa: S311 - to be repeated, not to be secret
    theme = chance.choice(THEMES)
    style = _STYLES[theme]
    tasks = tuple(_task(chance, number, style) for number in range(chance.randint(*TASKS)))
    faults = [_fault(chance, len(tasks), style) for _ in range(chance.randint(*FAULTS))]
    return Plan(
        seed=seed,
        pools=chance.randint(1, 2),
        workers=chance.choice(style.workers),
        tasks=tasks,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        theme=theme,
        hosts=chance.randint(1, 2),
    )


def _task(chance: random.Random, number: int, style: _Style) -> PlannedTask:
    return PlannedTask(
        number=number,
        at=round(chance.uniform(0.0, ARRIVALS), 3),
        work=round(chance.choice(style.work) * chance.uniform(0.5, 1.5), 3),
        failures=chance.choices((0, 1, 2, 5), style.failures)[0],
        progress=chance.choices((0, 1, 3), (3, 1, 1))[0],
        lock=chance.choice(style.locks),
        late_lock=chance.random() < 0.3,
        level=chance.choice((0, 1)),
        delay=chance.choices((0.0, 0.5), (6, 1))[0],
    )


def _fault(chance: random.Random, tasks: int, style: _Style) -> SimulatedFault:
    kind = chance.choice(style.kinds)
    return SimulatedFault(
        kind=kind,
        at=round(chance.uniform(0.3, EARLY if kind in SELDOM_CALLING else ARRIVALS), 3),
        victim=chance.randrange(tasks) if kind is FaultKind.CANCEL else chance.randrange(8),
        skip=chance.choice((0, 0, 1, 2, 5)),
        after=_after(chance, kind),
        seconds=chance.choice(style.lasting.get(kind, (0.0,))),
    )


def _after(chance: random.Random, kind: FaultKind) -> bool:
    """Whether a fault strikes after the server's work: a reply can be lost only then, a request only before."""
    if kind in (FaultKind.LOSE_REPLY, FaultKind.PRODUCER_LOSES_REPLY):
        return True
    return kind not in (FaultKind.LOSE_REQUEST, FaultKind.LATE_REQUEST) and chance.random() < 0.5
