"""Workers are paused past their leases and resume later, as on a host that swaps, migrates or throttles.

Other workers take their tasks over. Activity store and queue refuse every write of the resumed workers by their fencing
tokens. Their handlers may still return, so one duplicate run per slot and fault is allowed.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.pausing import PauseWorker
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=3, concurrency=4, lease=2.0)
_AT = (0.15, 0.40, 0.65)

SCENARIO = Scenario(
    name="pause-worker",
    summary="SIGSTOP of a worker past its leases, then SIGCONT, three times; others run its tasks meanwhile",
    workload=NumberedTasks(rate=6.0, work=(1.0, 2.0)),
    faults=tuple(PauseWorker(at=at) for at in _AT),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.concurrency))},
    pool=_POOL,
    timeout=120.0,
)
