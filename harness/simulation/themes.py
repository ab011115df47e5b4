"""What the pools of a theme are set to, and what is asked of its runs besides."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from agentexec.config import Settings, load_settings
from harness.checkers import duplicates, recovery
from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.simulation.plan import Theme

LEASE = 2.0
MAX_RETRIES = 2
# After the last kill a pool is started anew, sees within a second that the old one is gone, and has a slot when what
# came first is done; leases of another host may have to run out, and a worker that died young is not replaced at
# once. No reconciler comes to help within that time.
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
    """The settings of every pool in a run. A stop charges nobody, so where all faults are stops, few crashes are
    allowed; a reconciler that seldom comes leaves recovery from kills to those who watch over processes and leases.
    """
    return load_settings(**{**_COMMON, "num_workers": workers, **_OWN.get(theme, {})})


def more_checkers(theme: Theme) -> dict[str, Checker]:
    """Who judges the runs of a theme besides those that judge all, by name."""
    match theme:
        case Theme.SHUTDOWNS:
            return {"duplicates": duplicates(0)}
        case Theme.KILLS:
            return {"recovery": _where_any(recovery(RECOVERED_WITHIN, from_last_kill=True))}
        case _:
            return {}


def _where_any(checker: Checker) -> Checker:
    """The checker's word, but nothing wrong where it saw too little to judge by: not every kill interrupts a run."""

    def check(history: History) -> CheckResult:
        result = checker(history)
        if result.verdict is Verdict.UNKNOWN:
            return CheckResult(verdict=Verdict.VALID, summary=result.summary, figures=result.figures)
        return result

    return check
