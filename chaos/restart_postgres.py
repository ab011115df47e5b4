"""Postgres is restarted under load: twice by a fast shutdown, and once after a crash of all its processes.

Every connection ends, and what was not committed is gone. Starts and ends of tasks wait for the record, and a result
whose commit had no answer is recorded again. Leases may expire, so one duplicate run per slot and fault is allowed.
"""

from __future__ import annotations

from harness.checkers import duplicates, standard
from harness.faults.restarting import restarts
from harness.scenario import RELEASE, SMOKE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=4.0)
_FAULTS = restarts("postgres")

SCENARIO = Scenario(
    name="restart-postgres",
    summary="Postgres restarted, twice by a fast shutdown and once after a crash of all its processes",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=_FAULTS,
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(len(_FAULTS) * _POOL.workers * _POOL.concurrency)},
    own_servers=True,
    pool=_POOL,
    tags=(SMOKE, RELEASE),
)
