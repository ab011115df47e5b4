"""A new version is rolled back to the old one and rolled out again, twice, while tasks of both versions arrive.

Only the new version knows one task, and one field of the other task's context. Both versions run side by side for two
seconds in each change, and then SIGTERM ends the one that leaves. A pool of the old version leaves the new tasks to
pools of the new one, also while none runs.
"""

from __future__ import annotations

from harness.checkers import shutdown, standard
from harness.faults.process import replace_pool
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks
from harness.workloads.versioned_tasks import VersionedTasks

_GRACEFUL = 2.0

SCENARIO = Scenario(
    name="rolling-deploy",
    summary="four changes between pools of an old and a new version, with tasks that only the new one knows",
    workload=VersionedTasks(tasks=NumberedTasks(rate=14.0, work=(0.05, 0.25)), new=0.5),
    faults=tuple(replace_pool(at=at, graceful=_GRACEFUL, beside=2.0) for at in (0.08, 0.30, 0.52, 0.74)),
    checkers={
        **standard(recovery_p99=None, concurrency=4, minimum_faults=4, uses=("effects",)),
        "shutdown": shutdown(graceful=_GRACEFUL, margin=2.0, minimum_running=4),
    },
    pool=PoolNeeds(
        workers=2, concurrency=4, lease=3.0, graceful_shutdown=_GRACEFUL, versions=(2, 1, 2, 1, 2)
    ),
)
