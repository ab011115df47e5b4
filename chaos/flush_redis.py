"""Redis forgets everything under load, three times: FLUSHALL, or a failover to a replica that has nothing.

Postgres is the record: whatever is not over by its word is dispatched again, with the next healing, so within a second.
What was running at that moment may return in vain, so up to one run of each slot is excused.
"""

from __future__ import annotations

from harness.checkers import duplicates, standard
from harness.faults.redis_memory import FlushRedis
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=2.0)
_AT = (0.25, 0.5, 0.75)

SCENARIO = Scenario(
    name="flush-redis",
    summary="FLUSHALL of Redis under load, three times; the record brings everything back",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.6)),
    faults=tuple(FlushRedis(at=at) for at in _AT),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(len(_AT) * _POOL.workers * _POOL.concurrency)},
    own_servers=True,
    pool=_POOL,
)
