"""Workers stand still past their leases and wake up late, as on a host that swaps, migrates or throttles.

Others take their tasks over meanwhile. What the late ones still say must change nothing: the record refuses it, and so
does the queue. Their handlers may return although another run counts, so up to one of each slot is excused.
"""

from __future__ import annotations

from harness.checkers import duplicates, standard
from harness.faults.pausing import PauseWorker
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=3, concurrency=4, lease=2.0)
_AT = (0.15, 0.40, 0.65)
_LATE = 0.5

SCENARIO = Scenario(
    name="pause-worker",
    summary="SIGSTOP of a worker past its leases, then SIGCONT, three times; others run its tasks meanwhile",
    workload=NumberedTasks(rate=6.0, work=(1.0, 2.0)),
    faults=tuple(PauseWorker(at=at, seconds=_POOL.lease + _LATE) for at in _AT),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(len(_AT) * _POOL.concurrency)},
    pool=_POOL,
    timeout=120.0,
)
