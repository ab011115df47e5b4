"""All scenarios by name; the command line, the tests and the documentation read this list."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.scenario import Scenario

# Relative, because this package is `harness.chaos` in the wheel.
from . import (
    flush_redis,
    kill_pool,
    kill_worker_locked,
    kill_worker_mid_task,
    lose_reply,
    pause_worker,
    restart_postgres,
    restart_redis,
    rolling_deploy,
    sigterm_drain,
    stall_postgres,
    stall_redis,
    terminate_backends,
)

__all__ = ["SCENARIOS"]

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (
            kill_worker_mid_task.SCENARIO,
            kill_pool.SCENARIO,
            sigterm_drain.SCENARIO,
            rolling_deploy.SCENARIO,
            kill_worker_locked.SCENARIO,
            pause_worker.SCENARIO,
            flush_redis.SCENARIO,
            stall_redis.SCENARIO,
            stall_postgres.SCENARIO,
            restart_redis.SCENARIO,
            restart_postgres.SCENARIO,
            terminate_backends.SCENARIO,
            lose_reply.SCENARIO,
        )
    }
)
