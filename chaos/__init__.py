"""All scenarios by name; the command line, the tests and the documentation read this list."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.scenario import Scenario

# Relative, because this package is `harness.chaos` in the wheel.
from . import (
    cancel_statements,
    demote_redis,
    evict_redis,
    exhaust_connections,
    fill_redis,
    flush_redis,
    handler_blocks,
    handler_exits,
    kill_forked_worker,
    kill_pool,
    kill_redis_clients,
    kill_worker_locked,
    kill_worker_mid_task,
    lock_tables,
    lose_postgres_tail,
    lose_redis_tail,
    lose_reply,
    mixed_soak,
    occupy_redis,
    pause_worker,
    read_only_postgres,
    restart_postgres,
    restart_redis,
    rolling_deploy,
    rotate_redis_password,
    scale_to_zero,
    sigterm_drain,
    stall_postgres,
    stall_redis,
    starve_workers,
    terminate_backends,
    terminate_storm,
    watch,
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
            fill_redis.SCENARIO,
            evict_redis.SCENARIO,
            occupy_redis.SCENARIO,
            kill_redis_clients.SCENARIO,
            demote_redis.SCENARIO,
            rotate_redis_password.SCENARIO,
            exhaust_connections.SCENARIO,
            lock_tables.SCENARIO,
            read_only_postgres.SCENARIO,
            cancel_statements.SCENARIO,
            terminate_storm.SCENARIO,
            handler_exits.SCENARIO,
            handler_blocks.SCENARIO,
            kill_forked_worker.SCENARIO,
            lose_redis_tail.SCENARIO,
            lose_postgres_tail.SCENARIO,
            scale_to_zero.SCENARIO,
            starve_workers.SCENARIO,
            watch.SCENARIO,
            mixed_soak.SCENARIO,
        )
    }
)
