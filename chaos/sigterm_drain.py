"""SIGTERM of pools under load, one after another, as in a rolling deployment; a second pool is always up.

Three pools have tasks that finish inside the graceful time-out. Two have a task that outlives it: the pool releases its
lease, and another pool runs it. Queued tasks stay queued, and each pool ends with exit code 0.
"""

from __future__ import annotations

from harness.checkers import shutdown, standard
from harness.faults.process import sigterm_pool
from harness.scenario import RELEASE, SMOKE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_GRACEFUL = 2.0

SCENARIO = Scenario(
    name="sigterm-drain",
    summary="SIGTERM of five pools under load: tasks finish inside the graceful time-out or run elsewhere",
    workload=NumberedTasks(rate=18.0, work=(0.05, 0.25)),
    faults=(
        *(sigterm_pool(at=at, graceful=_GRACEFUL) for at in (0.05, 0.20, 0.35)),
        *(sigterm_pool(at=at, graceful=_GRACEFUL, outlive=True) for at in (0.50, 0.72)),
    ),
    checkers={
        **standard(recovery_p99=None, concurrency=4, minimum_faults=5, uses=("effects",)),
        "shutdown": shutdown(graceful=_GRACEFUL, margin=2.0, minimum_running=5),
    },
    pool=PoolNeeds(workers=2, concurrency=4, lease=3.0, graceful_shutdown=_GRACEFUL),
    tags=(SMOKE, RELEASE),
)
