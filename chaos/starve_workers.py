"""All workers share one processor with eight busy processes, three times for two seconds.

Would fail for leases that are renewed only when nothing else is to be done, and for a supervisor that takes slow for
dead.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.starving import StarveWorkers
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="starve-workers",
    summary="workers share one processor with eight busy processes, three times two seconds",
    workload=NumberedTasks(rate=16.0, work=(0.05, 0.25)),
    faults=tuple(StarveWorkers(at=at) for at in (0.2, 0.45, 0.7)),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    pool=PoolNeeds(workers=2, concurrency=4, lease=5.0),
)
