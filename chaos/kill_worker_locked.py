"""Workers are SIGKILLed while they hold lock keys: no lock is left behind, none is taken twice, and nobody starves.

Half of the tasks share five lock keys, and two of three go first. The aimed kills hit whatever waits at its gate, with
its lock key where it has one; the next under that key begins only once the interrupted task has run to its end.
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
        recovery_p99=2.0,
        concurrency=4,
        minimum_faults=5,
        minimum_kills=5,
        uses=("effects", "locks"),
    ),
    pool=PoolNeeds(workers=3, concurrency=4, lease=4.0),
)
