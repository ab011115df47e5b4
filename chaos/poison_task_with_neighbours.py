"""One task ends the interpreter of its worker each time, beside healthy tasks, until it is a dead letter.

Would fail for a pool that delivers it for ever, that gives up with it, or that buries a task which ran beside it.
"""

from __future__ import annotations

from harness.checkers import delivery, poison, standard
from harness.faults.handler import poison as poisoned
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)

SCENARIO = Scenario(
    name="poison-task-with-neighbours",
    summary="one task ends the interpreter of its worker each time it runs, beside healthy tasks",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    # Some systems charge no task of a worker that ran several: eight times are enough for five crashes in agentexec.
    faults=poisoned(at=0.1, times=8),
    checkers=standard(concurrency=_POOL.concurrency, minimum_faults=6, minimum_kills=6)
    | {"delivery": delivery(allow_errors=True), "poison": poison()},
    pool=_POOL,
)
