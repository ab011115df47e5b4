"""Redis ends every connection again and again, three times for 1.5 s, as in a storm of failovers.

Would fail for a worker that ends with its connection, or for a command that is sent again and takes effect twice.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.redis_states import ClientsKilled
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="kill-redis-clients",
    summary="Redis kills every connection again and again, three times 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(ClientsKilled(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
