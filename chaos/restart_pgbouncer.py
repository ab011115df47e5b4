"""PgBouncer, in transaction mode before Postgres, is restarted: in order, after a crash, and in order again.

Every connection of the system ends, and there is no database for a second. Consecutive transactions of a client have
different sessions of the server. Would fail for a system that ends with its connection, or that depends on a session:
on its locks, its settings, or what it listens to.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.environments.base import Topology
from harness.faults.restarting import restarts
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=4.0)

SCENARIO = Scenario(
    name="restart-pgbouncer",
    summary="PgBouncer before Postgres restarted, twice in order and once after a crash",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=restarts("pgbouncer"),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    topology=Topology.PGBOUNCER,
    own_servers=True,
    pool=_POOL,
)
