"""Redis is restarted under load: twice in order, as for an upgrade, and once after a crash.

Redis keeps its append-only file, which it syncs every second. Clients wait or fail while it is down, and leases may
expire. A task that runs at that moment may run twice, so one duplicate run per slot and fault is allowed.
"""

from __future__ import annotations

from harness.checkers import duplicates, standard
from harness.faults.restarting import restarts
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)
_FAULTS = restarts("redis")

SCENARIO = Scenario(
    name="restart-redis",
    summary="Redis restarted with its append-only file, twice in order and once after a crash",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=_FAULTS,
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(len(_FAULTS) * _POOL.workers * _POOL.concurrency)},
    own_servers=True,
    pool=_POOL,
)
