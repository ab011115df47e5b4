"""The settings of a theme's pools, and the further checkers of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from agentexec.config import Settings, load_settings
from harness.checkers import duplicates, recovery
from harness.checkers.base import Checker
from harness.simulation.outcomes import unknown_as_valid
from harness.simulation.plan import Theme

LEASE = 2.0
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
        "max_crashes": 100,
    }
)
_OWN: Mapping[Theme, Mapping[str, Any]] = MappingProxyType(
    {
        Theme.SHUTDOWNS: {"graceful_shutdown_timeout": 0.3, "max_crashes": 2},
        Theme.KILLS: {"reconcile_seconds": 30.0},
    }
)


@cache
def settings_of(theme: Theme, workers: int) -> Settings:
    """The settings of every pool in a run.

    SHUTDOWNS allows few crashes, because a stop is charged to no task. KILLS lets the reconciler run rarely, so that
    recovery depends on the supervision of processes and leases.
    """
    return load_settings(**{**_COMMON, "num_workers": workers, **_OWN.get(theme, {})})


def more_checkers(theme: Theme) -> dict[str, Checker]:
    """The checkers of a theme's runs, by name, in addition to those of all runs."""
    match theme:
        case Theme.SHUTDOWNS:
            return {"duplicates": duplicates(0)}
        case Theme.KILLS:
            return {"recovery": unknown_as_valid(recovery(RECOVERED_WITHIN, from_last_kill=True))}
        case _:
            return {}
