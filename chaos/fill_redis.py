"""Redis reaches `maxmemory` under `noeviction`, three times: it refuses every write, and loses nothing.

Enqueue succeeds meanwhile, because the task is in the activity store; the outbox dispatcher offers it to the queue
again. Would fail for a system that acknowledges a task which only Redis would have, or that lets a worker die of the
refusal.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.redis_states import MemoryFull
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="fill-redis",
    summary="Redis is full and refuses writes, three times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(MemoryFull(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
