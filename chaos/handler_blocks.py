"""A handler blocks the event loop of its worker for longer than the lease, three times.

Would fail for a system that renews its leases in the loop of the handlers: others run the task while it still runs.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.handler import HandlerBlocks
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=2.0)

SCENARIO = Scenario(
    name="handler-blocks",
    summary="handlers block the event loop of their worker for longer than the lease, three times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(HandlerBlocks(at=at, seconds=3.0) for at in (0.2, 0.45, 0.7)),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    pool=_POOL,
)
