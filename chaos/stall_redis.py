"""Redis is frozen for longer than the time-outs of its clients. The clients send again, and both messages arrive.

Every lease expires in this time. A message that arrives twice must take effect once. A task that runs at that moment
may run twice, so one duplicate run per slot is allowed.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.pausing import StallServer
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)

SCENARIO = Scenario(
    name="stall-redis",
    summary="Redis frozen past the time-outs of its clients, so that they send everything again",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=(StallServer(service="redis", at=0.3, seconds=8.0),),
    checkers=standard(recovery_p99=None)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    pool=_POOL,
    timeout=90.0,
)
