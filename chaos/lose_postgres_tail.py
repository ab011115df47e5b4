"""The host of Postgres crashes three times: what Postgres had not flushed is gone.

With `synchronous_commit = off` a commit is acknowledged while it is only in the memory of the server. The fault lets
one second of such commits pass, as a long `wal_writer_delay` may. Would fail for a system whose enqueue does not wait
for the flush.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.postgres_tail import LosePostgresTail
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="lose-postgres-tail",
    summary="the host of Postgres crashes: commits that it has not flushed are gone, three times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(LosePostgresTail(at=at) for at in (0.15, 0.35, 0.55)),
    checkers=standard(recovery_p99=None, minimum_faults=3)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    pool=_POOL,
)
