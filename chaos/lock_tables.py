"""A migration locks every table, three times for 1.5 s: each statement of the system waits.

Would fail for leases that expire because their renewal waits for the record, or for a statement that runs into a
deadlock once the lock is gone.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.postgres_states import TablesLocked
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="lock-tables",
    summary="every table of Postgres is locked, three times 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(TablesLocked(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
