"""Draws a plan from a seed. The same seed gives the same plan as long as this module does not change.

Each plan has a random subset of the kinds of faults and of the features of a workload. Where everything happens in
every run, one thing often hides another: a queue that loses its contents every second is rarely full.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType

from harness.draws import seeded
from harness.simulation.plan import (
    MANY_CRASHES,
    CallKind,
    FaultKind,
    Plan,
    PlannedCall,
    PlannedTask,
    SimulatedFault,
    Theme,
)
from harness.simulation.plan_extras import with_extras

TASKS = (20, 22)
FAULTS = (10, 12)
# Seconds over which tasks arrive and faults strike.
ARRIVALS = 4.0
# Seconds within which faults strike at processes that make few calls, or that soon have nothing left to enqueue.
EARLY = 3.0
RARELY_CALLING = frozenset({FaultKind.KILL_PRODUCER, FaultKind.PRODUCER_LOSES_REPLY, FaultKind.KILL_PARENT})
# Half of all plans are mixed: they find what only a combination of several kinds of faults can cause.
THEMES = (Theme.MIXED,) * 4 + (Theme.SHUTDOWNS, Theme.KILLS, Theme.LOCKS, Theme.FROZEN)
# Faults that belong to a feature of the workload, come last, or are added to the drawn plan (`with_extras`).
OF_FEATURES = frozenset(
    {
        FaultKind.CANCEL,
        FaultKind.FAIL,
        FaultKind.FREEZE_HOST,
        FaultKind.REDIS_LOSES_KEYS,
        FaultKind.POSTGRES_SILENT,
    }
)
FEWEST_KINDS = 4
MAX_DEPTHS = (4, 8)
CALLS = (4, 10)
# The share of long tasks in plans with some, and their seconds.
LONG_SHARE, LONG_WORK = 0.25, (6.0, 9.0)
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


class Feature(Enum):
    """What the workload of a plan may have beside plain tasks."""

    RETRIES = auto()
    DELAYS = auto()
    LOCK_KEYS = auto()
    PROGRESS = auto()
    CANCELS = auto()
    RESENDS = auto()
    RESULT_READS = auto()
    FULL_QUEUE = auto()
    CRASH_LIMIT = auto()
    ACTIVITY_CALLS = auto()
    UNKNOWN_TASKS = auto()


# What changes no outcome, so that no theme has to allow more for it.
HARMLESS = frozenset({Feature.PROGRESS, Feature.RESENDS, Feature.RESULT_READS})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Style:
    """The choices from which the plans of a theme are drawn. Times are seconds.

    Each plan has half of the `kinds` on average, and at least `FEWEST_KINDS` of them if there are as many, all features
    that are `given`, and half of the others. `failures` are the weights of 0, 1, 2 and 5 failures of a handler.
    """

    kinds: Sequence[FaultKind]
    features: frozenset[Feature]
    given: frozenset[Feature] = frozenset()
    work: Sequence[float] = (0.0, 0.02, 0.2, 0.6)
    failures: Sequence[int] = (9, 4, 2, 2)
    locks: Sequence[str | None] = (None, None, None, "a", "b")
    durations: Mapping[FaultKind, Sequence[float]] = field(default_factory=lambda: DURATIONS)
    workers: Sequence[int] = (1, 2)


_STYLES = {
    Theme.MIXED: _Style(
        kinds=[kind for kind in FaultKind if kind not in OF_FEATURES], features=frozenset(Feature)
    ),
    # Handlers that run longer than the graceful time-out: each stop releases their leases.
    Theme.SHUTDOWNS: _Style(
        kinds=(FaultKind.TERMINATE_POOL,),
        features=HARMLESS | {Feature.DELAYS, Feature.LOCK_KEYS},
        given=frozenset({Feature.RETRIES}),  # so that a stop that is charged as a retry shows
        work=(0.02, 0.2, 0.6, 1.2),
        failures=(12, 3, 1, 1),
        locks=(None,) * 6 + ("a", "b"),
    ),
    Theme.KILLS: _Style(
        kinds=(FaultKind.KILL_WORKER, FaultKind.KILL_PARENT, FaultKind.KILL_POOL),
        features=HARMLESS | {Feature.DELAYS, Feature.LOCK_KEYS, Feature.RETRIES},
        failures=(12, 3, 1, 1),
        locks=(None,) * 6 + ("a", "b"),
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
        features=HARMLESS | {Feature.DELAYS},
        given=frozenset({Feature.RETRIES, Feature.LOCK_KEYS}),
        work=(0.0, 0.02, 0.2),
        failures=(3, 3, 3, 0),
        locks=("a", "b"),
        durations={**DURATIONS, FaultKind.STALL_WORKER: (2.5, 4.0), FaultKind.LATE_REQUEST: (0.7, 3.0)},
        workers=(2,),  # while one is stalled, the other takes over
    ),
    # One host freezes after these. They leave every process where it is, so that both hosts have a pool.
    Theme.FROZEN: _Style(
        kinds=(
            FaultKind.STALL_WORKER,
            FaultKind.LOSE_REQUEST,
            FaultKind.LOSE_REPLY,
            FaultKind.LATE_REQUEST,
            FaultKind.PRODUCER_LOSES_REPLY,
            FaultKind.REDIS_FORGETS,
            FaultKind.REDIS_AWAY,
            FaultKind.REDIS_FAILS_OVER,
            FaultKind.POSTGRES_AWAY,
        ),
        features=HARMLESS | {Feature.RETRIES, Feature.DELAYS, Feature.LOCK_KEYS, Feature.CANCELS},
    ),
}


def plan_of(seed: int) -> Plan:
    """The plan of a seed, drawn deterministically."""
    rng = seeded(f"plan {seed}")
    theme = rng.choice(THEMES)
    style = _STYLES[theme]
    features = style.given | {one for one in Feature if one in style.features and rng.random() < 0.5}
    tasks = tuple(_task(rng, number, style, features) for number in range(rng.randint(*TASKS)))
    more = seeded(f"more of {seed}")  # what came later changes no other draw
    if theme is Theme.MIXED and more.random() < 0.5:
        tasks = tuple(_lengthened(more, task) for task in tasks)
    long = [task.number for task in tasks if task.work >= LONG_WORK[0]]
    room = theme is Theme.FROZEN and more.random() < 0.5
    kinds = _kinds(rng, style, features)
    faults = [_fault(rng, len(tasks), style, kinds) for _ in range(rng.randint(*FAULTS))]
    faults = [_at_long(more, fault, long) for fault in faults]
    pools = 2 if theme is Theme.FROZEN or Feature.UNKNOWN_TASKS in features else rng.randint(1, 2)
    if theme is Theme.FROZEN:
        last = max(fault.at for fault in faults)
        faults.append(_freeze(rng, last))
    plan = Plan(
        seed=seed,
        pools=pools,
        workers=rng.choice(style.workers),
        tasks=tasks,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        theme=theme,
        hosts=2 if theme is Theme.FROZEN else rng.randint(1, 2),
        two_versions=Feature.UNKNOWN_TASKS in features,
        max_depth=rng.choice(MAX_DEPTHS) if Feature.FULL_QUEUE in features else min(MAX_DEPTHS) * room,
        max_crashes=1 if Feature.CRASH_LIMIT in features else MANY_CRASHES,
        calls=_calls(rng, len(tasks), features),
    )
    return with_extras(plan)


def _kinds(rng: random.Random, style: _Style, features: frozenset[Feature]) -> Sequence[FaultKind]:
    """The kinds of faults of one plan."""
    drawn = [kind for kind in style.kinds if rng.random() < 0.5]
    if len(drawn) < FEWEST_KINDS:
        drawn = rng.sample(style.kinds, min(FEWEST_KINDS, len(style.kinds)))
    drawn += [FaultKind.CANCEL] * (2 * (Feature.CANCELS in features))
    return drawn + [FaultKind.FAIL] * (Feature.ACTIVITY_CALLS in features)


def _task(rng: random.Random, number: int, style: _Style, features: frozenset[Feature]) -> PlannedTask:
    lock = rng.choice(style.locks) if Feature.LOCK_KEYS in features else None
    late_lock = rng.random() < 0.3
    if Feature.UNKNOWN_TASKS in features and rng.random() < 0.3:  # the task that the first pool does not know
        lock, late_lock = f"own {number}", True
    return PlannedTask(
        number=number,
        at=round(rng.uniform(0.0, ARRIVALS), 3),
        work=round(rng.choice(style.work) * rng.uniform(0.5, 1.5), 3),
        failures=rng.choices((0, 1, 2, 5), style.failures)[0] if Feature.RETRIES in features else 0,
        progress=rng.choices((0, 1, 3), (2, 1, 1))[0] if Feature.PROGRESS in features else 0,
        lock=lock,
        late_lock=late_lock,
        level=rng.choice((0, 1)),
        delay=rng.choices((0.0, 0.5, 1.5), (3, 1, 1))[0] if Feature.DELAYS in features else 0.0,
        resend=rng.choices((0.0, 0.01, 1.0), (3, 1, 1))[0] if Feature.RESENDS in features else 0.0,
    )


def _lengthened(rng: random.Random, task: PlannedTask) -> PlannedTask:
    """The task, or one that works longer than a lease and than a cancel may take; no other waits for its lock."""
    if task.lock is not None or rng.random() >= LONG_SHARE:
        return task
    return replace(task, work=round(rng.uniform(*LONG_WORK), 3))


def _at_long(rng: random.Random, fault: SimulatedFault, long: Sequence[int]) -> SimulatedFault:
    """The fault; half of the cancels are of tasks that still run then."""
    if fault.kind is not FaultKind.CANCEL or not long or rng.random() < 0.5:
        return fault
    return replace(fault, victim=rng.choice(long))


def _calls(rng: random.Random, tasks: int, features: frozenset[Feature]) -> tuple[PlannedCall, ...]:
    """The calls of a service, over the time in which tasks arrive and end."""
    kinds = [CallKind.READ_RESULT] * (Feature.RESULT_READS in features)
    kinds += [CallKind.NOTE] * (Feature.ACTIVITY_CALLS in features)
    count = rng.randint(*CALLS) if kinds else 0
    return tuple(
        PlannedCall(
            kind=rng.choice(kinds), at=round(rng.uniform(0.5, ARRIVALS + 2.0), 3), task=rng.randrange(tasks)
        )
        for _ in range(count)
    )


def _freeze(rng: random.Random, last: float) -> SimulatedFault:
    """The freeze of a host, at one of the next calls after the last fault."""
    return SimulatedFault(
        kind=FaultKind.FREEZE_HOST,
        at=round(last + rng.choice((0.01, 0.3, 1.0)), 3),
        victim=rng.randrange(8),
        skip=rng.choice((0, 0, 1, 2, 5)),
        after=rng.random() < 0.5,
    )


def _fault(rng: random.Random, tasks: int, style: _Style, kinds: Sequence[FaultKind]) -> SimulatedFault:
    kind = rng.choice(kinds)
    return SimulatedFault(
        kind=kind,
        at=round(rng.uniform(0.3, EARLY if kind in RARELY_CALLING else ARRIVALS), 3),
        victim=rng.randrange(tasks) if kind in (FaultKind.CANCEL, FaultKind.FAIL) else rng.randrange(8),
        skip=rng.choice((0, 0, 1, 2, 5)),
        after=_after(rng, kind),
        seconds=rng.choice(style.durations.get(kind, (0.0,))),
    )


def _after(rng: random.Random, kind: FaultKind) -> bool:
    """Whether a fault strikes after the server's work; lost replies always do, lost and late requests never do."""
    if kind in (FaultKind.LOSE_REPLY, FaultKind.PRODUCER_LOSES_REPLY):
        return True
    return kind not in (FaultKind.LOSE_REQUEST, FaultKind.LATE_REQUEST) and rng.random() < 0.5
