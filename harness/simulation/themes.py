"""The settings of a theme's pools, and the further checkers of its runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from agentexec.config import Settings, load_settings
from agentexec.worker.reconciler import OUTBOX_AFTER
from agentexec.worker.recording import DEFER_SECONDS
from harness.checkers import duplicates, recovery
from harness.checkers.base import Checker
from harness.simulation.outcomes import unknown_as_valid
from harness.simulation.plan import MANY_CRASHES, HandlerEnd, Plan, Theme

LEASE, LONG_LEASE = 2.0, 20.0
MAX_RETRIES = 2
# Seconds. After the last kill a new pool starts, detects within a second that the old pool has ended, and has a free
# slot after earlier tasks. Leases of another host may have to expire first, and a worker that ended early is not
# replaced at once. No reconciler runs within this time.
RECOVERED_WITHIN = 6.0
_COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "database_url": "sqlite://",
        "redis_url": "redis://simulated:1",
        "queue_name": "simulated",
        "worker_concurrency": 3,
        "graceful_shutdown_timeout": 1.0,
        "lease_seconds": LEASE,
        "reconcile_seconds": 3.0,
        "max_task_retries": MAX_RETRIES,
        "retry_base_seconds": 0.05,
        "retry_cap_seconds": 0.3,
    }
)
_OWN: Mapping[Theme, Mapping[str, Any]] = MappingProxyType(
    {
        Theme.SHUTDOWNS: {"graceful_shutdown_timeout": 0.3, "max_crashes": 2},
        Theme.KILLS: {"reconcile_seconds": 30.0},
        Theme.FROZEN: {"reconcile_seconds": 60.0},
    }
)

# Seconds between two rounds of a pool.
ROUND = 1.0


@cache
def settings_of(
    theme: Theme,
    workers: int,
    hosts: int = 1,
    *,
    max_depth: int = 0,
    max_crashes: int = MANY_CRASHES,
    tasks_per_worker: int = 0,
) -> Settings:
    """The settings of every pool in a run.

    SHUTDOWNS allows few crashes, because a stop is charged to no task. KILLS and FROZEN let the comparison run rarely,
    so that recovery depends on the supervision of processes and leases, and on the outbox; on one host KILLS has long
    leases too, since every death is seen there.
    """
    of_plan = {
        "num_workers": workers,
        "max_queue_depth": max_depth,
        "max_crashes": max_crashes,
        "max_tasks_per_worker": tasks_per_worker,
    }
    return _loaded(theme, one_host=hosts == 1).model_copy(update=of_plan | dict(_OWN.get(theme, {})))


@cache
def _loaded(theme: Theme, *, one_host: bool) -> Settings:
    """What all plans of a theme have. To load settings takes 3 ms, to copy them much less."""
    own = dict(_OWN.get(theme, {}))
    if theme is Theme.KILLS and one_host:
        own["lease_seconds"] = LONG_LEASE
    return load_settings(**{**_COMMON} | own)


def more_checkers(theme: Theme) -> dict[str, Checker]:
    """The checkers of a theme's runs, by name, in addition to those of all runs."""
    match theme:
        case Theme.SHUTDOWNS:
            return {"duplicates": duplicates(0)}
        case Theme.KILLS:
            return {"recovery": unknown_as_valid(recovery(RECOVERED_WITHIN, from_last_kill=True))}
        case _:
            return {}


def ends_within(plan: Plan, settings: Settings) -> float:
    """The seconds after the last fault and the last enqueue within which every task has ended, whatever is frozen.

    A lease expires, and its worker may have renewed it just before. Meanwhile a pool notices that the queue lost its
    contents, and dispatches what no producer did; the comparison is not needed for that. Then each task may need all of
    its attempts once more in the slots of one pool, with a pause before each; tasks of one lock key run one by one.
    """
    found = 2 * settings.lease_seconds + OUTBOX_AFTER + 2 * ROUND
    attempts = settings.max_task_retries + 1
    pauses = max((task.delay for task in plan.tasks), default=0.0) + attempts * settings.retry_cap_seconds
    work, one_by_one = 0.0, defaultdict[str | int, float](float)
    for task in plan.tasks:
        seconds = task.work * (
            attempts if task.end is HandlerEnd.RAISES else min(attempts, task.failures + 1)
        )
        work += seconds
        one_by_one[task.number if task.lock is None else task.lock] += seconds
    slots = plan.workers * settings.worker_concurrency
    locked = {task.lock for task in plan.tasks if task.lock is not None}
    waits = DEFER_SECONDS * len(locked)
    if plan.max_depth:  # a round of the outbox for each filling of the queue
        waits += ROUND * math.ceil(len(plan.tasks) / plan.max_depth)
    return found + pauses + work / slots + max(one_by_one.values(), default=0.0) + waits
