"""Workers run out of memory, nine times: at a limit of their own, by a kill because a handler leaks, by the kernel.

At the limit every thread of the worker gets MemoryError for a while, and it may end of that. The kernel kills a worker
that exceeds its memory cgroup. Would fail for a worker that goes on without the thread which renews its leases, and for
a pool that does not replace the killed ones.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.memory import ExceedMemoryGroup, ExhaustMemory, KillLeakingWorker
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

_KINDS = ((0.0, ExhaustMemory), (0.1, KillLeakingWorker), (0.2, ExceedMemoryGroup))

SCENARIO = Scenario(
    name="exhaust-memory",
    summary="workers reach a limit of memory, or a leak kills them, also by the kernel, three times each",
    workload=NumberedTasks(rate=16.0, work=(0.05, 0.25)),
    faults=tuple(kind(at=at + later) for at in (0.1, 0.4, 0.7) for later, kind in _KINDS),
    checkers=standard(concurrency=_POOL.concurrency, minimum_faults=9, minimum_kills=6),
    pool=_POOL,
)
