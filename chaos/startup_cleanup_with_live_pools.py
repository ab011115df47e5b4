"""A service of the application starts again and again while pools run, and cancels the tasks it takes for lost.

It grants no grace: each task that is pending and has no trace in the queue is canceled at once. Would fail for a
service that takes what other pools run or have queued for lost.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.chores import StartService
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="startup-cleanup-with-live-pools",
    summary="services start and cancel what they take for lost, in three periods of two seconds",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(StartService(at=at) for at in (0.05, 0.35, 0.65)),
    checkers=standard(recovery_p99=None, minimum_faults=2),
    pool=PoolNeeds(workers=2, concurrency=4, lease=3.0),
)
