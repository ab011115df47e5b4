"""SIGKILL of workers whose tasks have lock keys: no key stays locked, no key is locked twice, no task starves.

Half of the tasks share five lock keys, and 60 % have high priority. The gated kills hit the worker of a task at its
gate. The next task of the same lock key begins only after the interrupted task has finished.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.process import kill_random_worker, kill_worker_at_gate
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.locked_tasks import LockedTasks
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="kill-worker-locked",
    summary="SIGKILL of workers that hold lock keys, with high and low priorities competing",
    workload=LockedTasks(tasks=NumberedTasks(rate=24.0, work=(0.05, 0.25)), keys=5, locked=0.5),
    faults=(
        *(kill_worker_at_gate(at=at) for at in (0.06, 0.18, 0.30, 0.42, 0.54)),
        *(kill_random_worker(at=at) for at in (0.66, 0.77, 0.88)),
    ),
    checkers=standard(
        concurrency=4,
        minimum_faults=5,
        minimum_kills=5,
        uses=("effects", "locks"),
    ),
    pool=PoolNeeds(workers=3, concurrency=4, lease=4.0),
)
