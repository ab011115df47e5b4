"""Nothing is injected: tasks arrive for 12 seconds, and what becomes of them is judged.

With `--backend external --watch` the workers are those of the user, and the harness starts none. Would fail for workers
that lose or repeat tasks in what their operators take for the normal state.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="watch",
    summary="no fault: tasks arrive, and what becomes of them is judged",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=(),
    checkers=standard(recovery_p99=None, minimum_faults=0),
    destructive=False,
    pool=PoolNeeds(workers=2, concurrency=4),
)
