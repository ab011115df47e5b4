"""The primary of Postgres is killed twice, and its synchronous standby is promoted: there and back.

Every connection ends, and clients find the new primary by the second host of their URL. Each commit was on the standby
before it was acknowledged, so that nothing may be lost. Would fail for a system that stays with the first host, or that
takes a transaction for committed whose commit was never acknowledged.

`ASYNCHRONOUS` is the same with a standby that lags for a second before each kill. It shows that the checkers see the
loss, which no system survives that keeps its record in such a Postgres: it is INVALID, and is not in `SCENARIOS`.
"""

from __future__ import annotations

from dataclasses import replace

from harness.checkers import budget_per_fault, duplicates, standard
from harness.environments.base import Topology
from harness.faults.failing_over import KillPrimary
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=4.0)

SCENARIO = Scenario(
    name="fail-over-postgres",
    summary="the primary of Postgres is killed and its synchronous standby is promoted, twice",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(KillPrimary(service="postgres", at=at) for at in (0.2, 0.6)),
    checkers=standard(recovery_p99=None, minimum_faults=2)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    topology=Topology.POSTGRES_STANDBY,
    own_servers=True,
    pool=_POOL,
    timeout=90.0,
)

ASYNCHRONOUS = replace(
    SCENARIO,
    name="fail-over-postgres-asynchronous",
    summary="the primary of Postgres is killed and its asynchronous standby, which lags, is promoted, twice",
    faults=tuple(KillPrimary(service="postgres", at=at, lag=1.0) for at in (0.2, 0.6)),
)
