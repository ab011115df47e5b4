"""Redis is a read-only replica, three times for 1.5 s, as in the middle of a failover.

Would fail for a system that acknowledges a task which Redis has refused, or that gives up after READONLY.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.redis_states import ReadOnlyReplica
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="demote-redis",
    summary="Redis is a read-only replica, three times 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(ReadOnlyReplica(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
