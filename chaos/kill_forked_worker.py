"""SIGKILL of a worker whose handler has forked, three times: the child keeps its pipes and sockets open.

Would fail for a supervisor that waits for the end of a pipe, and for leases that end with a connection.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.handler import KillForkedWorker
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="kill-forked-worker",
    summary="SIGKILL of workers whose handlers have forked: a child keeps their pipes and sockets open",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(KillForkedWorker(at=at) for at in (0.2, 0.45, 0.7)),
    checkers=standard(concurrency=_POOL.concurrency, minimum_faults=3, minimum_kills=3),
    pool=_POOL,
)
