"""The application archives tasks that ended a fifth of a second ago, again and again, while others run.

Would fail for a clean-up that takes a pending task, loses an entry of a log, or locks rows in another order than the
workers: then the database ends a statement because of a deadlock.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.chores import CleanUp
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="cleanup-under-load",
    summary="tasks that ended a fifth of a second ago are archived again and again, in three periods of two seconds",
    workload=NumberedTasks(rate=20.0, work=(0.1, 0.5)),
    faults=tuple(CleanUp(at=at) for at in (0.05, 0.35, 0.65)),
    checkers=standard(recovery_p99=None, minimum_faults=2),
    # A clean-up takes old tasks of every queue.
    own_servers=True,
    pool=PoolNeeds(workers=2, concurrency=4, lease=3.0),
)
