"""Adds features to a plan that was drawn: how handlers are written and end, what services do, what Redis loses.

They have random numbers of their own, so they change none of the other draws.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from enum import Enum, auto
from types import MappingProxyType

from harness.draws import seeded
from harness.simulation.plan import (
    CallKind,
    FaultKind,
    HandlerEnd,
    HandlerForm,
    Plan,
    PlannedCall,
    PlannedTask,
    SimulatedFault,
    Theme,
)

# Seconds of work from which on a task is too long for a thread, which nothing can stop, and for a time limit.
SHORT, WITHIN_LIMIT = 1.0, 0.3
# Reports at once: more than one batch of a worker takes.
BURSTS = (101, 110)
TASKS_PER_WORKER = (6, 12)
LIVES_BY_HAND, CLEAN_UPS, LOST_KEYS, SILENCES = (1, 2), (3, 6), (1, 2), (1, 2)
# Seconds for which Postgres does not answer a worker; the last ones are longer than a lease.
SILENT = (0.5, 3.0, 4.5)
# Seconds after the end or the cancel of a task in which a clean-up takes its row while its handler may go on.
SOON = 0.4
# Seconds over which the calls of services and the losses of keys are spread.
DURING = (0.5, 4.5)
OWN_ENDS = (
    HandlerEnd.CLOSES,
    HandlerEnd.GIVES_UP,
    HandlerEnd.RAISES,
    HandlerEnd.UNWRITABLE,
    HandlerEnd.REFUSED,
    HandlerEnd.UNFIT,
)


class Extra(Enum):
    """A feature of a workload, or a kind of fault, that is added to a plan."""

    AWAITABLES = auto()
    CONFLICTS = auto()
    OWN_ENDS = auto()
    BURSTS = auto()
    BY_HAND = auto()
    THREADS = auto()
    TIME_LIMITS = auto()
    RECYCLING = auto()
    CLEAN_UPS = auto()
    LOST_KEYS = auto()
    SILENCE = auto()


# Those that every theme has change no outcome, or one that the plan knows. What can cost a worker its life or the queue
# its contents is for plans in which the checkers allow that.
_EVERYWHERE = frozenset({Extra.AWAITABLES, Extra.CONFLICTS, Extra.OWN_ENDS, Extra.BURSTS, Extra.BY_HAND})
_ALLOWED: Mapping[Theme, Set[Extra]] = MappingProxyType(
    {
        Theme.MIXED: frozenset(Extra),
        Theme.LOCKS: _EVERYWHERE | {Extra.RECYCLING},
        Theme.SHUTDOWNS: _EVERYWHERE,
        Theme.KILLS: _EVERYWHERE,
        Theme.FROZEN: _EVERYWHERE,
    }
)
# The share of plans with a feature, where it is not half of them.
_SHARES: Mapping[Extra, float] = MappingProxyType(
    {Extra.BY_HAND: 0.35, Extra.CLEAN_UPS: 0.35, Extra.LOST_KEYS: 0.4, Extra.SILENCE: 0.4}
)


def with_extras(plan: Plan) -> Plan:
    """The plan of this seed with further features, drawn deterministically."""
    rng = seeded(f"extras of {plan.seed}")
    extras = {one for one in Extra if one in _ALLOWED[plan.theme] and rng.random() < _SHARES.get(one, 0.5)}
    tasks = tuple(_handled(rng, task, extras) for task in plan.tasks)
    if Extra.CONFLICTS in extras:
        tasks = tuple(_misused(rng, task, [one.at for one in tasks]) for task in tasks)
    calls = [*plan.calls]
    faults = [*plan.faults]
    if Extra.BY_HAND in extras:
        calls += [
            _call(rng, CallKind.BY_HAND, rng.randrange(100)) for _ in range(rng.randint(*LIVES_BY_HAND))
        ]
    if Extra.SILENCE in extras:
        faults += [_silence(rng) for _ in range(rng.randint(*SILENCES))]
    if Extra.LOST_KEYS in extras:
        faults += [_loss(rng) for _ in range(rng.randint(*LOST_KEYS))]
    plan = replace(
        plan,
        tasks=tasks,
        calls=tuple(calls),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        tasks_per_worker=rng.randint(*TASKS_PER_WORKER) if Extra.RECYCLING in extras else 0,
    )
    return _cleaned_up(rng, plan) if Extra.CLEAN_UPS in extras else plan


def _handled(rng: random.Random, task: PlannedTask, extras: Set[Extra]) -> PlannedTask:
    """The task with another handler."""
    form, end = task.form, task.end
    free = task.lock is None and task.work < SHORT  # of what a handler that runs on would hold
    if Extra.AWAITABLES in extras and rng.random() < 0.2:
        form = HandlerForm.AWAITABLE
    if Extra.OWN_ENDS in extras and rng.random() < 0.3:
        end = rng.choice(OWN_ENDS)
        form = HandlerForm.STRICT if rng.random() < 0.4 else form
    if Extra.THREADS in extras and free and rng.random() < 0.25:
        form = HandlerForm.THREAD
    if Extra.TIME_LIMITS in extras and free and rng.random() < 0.15:
        form = HandlerForm.THREAD if rng.random() < 0.3 else HandlerForm.LIMITED
        over = rng.random() < 0.6
        end = HandlerEnd.OVERDUE if over else HandlerEnd.RETURNS
        task = replace(task, work=task.work if over else min(task.work, WITHIN_LIMIT))
    if task.late_lock and task.lock is not None:  # the registration with the lock key has a plain handler
        form = HandlerForm.COROUTINE
    burst = 0
    if Extra.BURSTS in extras and form is not HandlerForm.THREAD and rng.random() < 0.04:
        burst = rng.randint(*BURSTS)
    return replace(task, form=form, end=end, burst=burst, progress=0 if burst else task.progress)


def _misused(rng: random.Random, task: PlannedTask, times: Sequence[float]) -> PlannedTask:
    """The task, or one whose key another one uses later, while other tasks are enqueued."""
    later = [at for at in times if at > task.at + 0.05]
    if not later or rng.random() >= 0.2:
        return task
    return replace(task, conflict=round(rng.choice(later) - task.at + 0.001, 3))


def _call(rng: random.Random, kind: CallKind, task: int = 0) -> PlannedCall:
    return PlannedCall(kind=kind, at=round(rng.uniform(*DURING), 3), task=task)


def _loss(rng: random.Random) -> SimulatedFault:
    at = round(rng.uniform(*DURING), 3)
    return SimulatedFault(kind=FaultKind.REDIS_LOSES_KEYS, at=at, victim=rng.randrange(64))


def _silence(rng: random.Random) -> SimulatedFault:
    at, lasts = round(rng.uniform(*DURING), 3), rng.choice(SILENT)
    return SimulatedFault(kind=FaultKind.POSTGRES_SILENT, at=at, victim=rng.randrange(8), seconds=lasts)


def _cleaned_up(rng: random.Random, plan: Plan) -> Plan:
    """The plan with clean-ups, at any time and soon after a task was ended or canceled.

    A row that is gone frees its idempotency key, so that no task of the plan is sent again after its end.
    """
    faults = [_of_no_producer(fault) for fault in plan.faults]
    long = [task.number for task in plan.tasks if task.work >= WITHIN_LIMIT]
    ended = [
        SimulatedFault(kind=FaultKind.FAIL, at=round(rng.uniform(*DURING), 3), victim=rng.choice(long))
        for _ in range(2 if long else 0)
    ]
    faults += ended
    soon: Sequence[float] = [
        round(fault.at + rng.uniform(0.0, SOON), 3)
        for fault in faults
        if fault.kind in (FaultKind.FAIL, FaultKind.CANCEL)
    ]
    calls = [PlannedCall(kind=CallKind.CLEAN_UP, at=at, task=0) for at in soon]
    calls += [_call(rng, CallKind.CLEAN_UP) for _ in range(rng.randint(*CLEAN_UPS))]
    return replace(
        plan,
        tasks=tuple(replace(task, resend=0.0, conflict=0.0) for task in plan.tasks),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        calls=(*plan.calls, *calls),
        max_depth=0,
    )


def _of_no_producer(fault: SimulatedFault) -> SimulatedFault:
    """The fault; one that makes a producer send again strikes a worker."""
    if fault.kind is not FaultKind.PRODUCER_LOSES_REPLY:
        return fault
    return replace(fault, kind=FaultKind.LOSE_REPLY)
