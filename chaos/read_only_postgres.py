"""Postgres is read-only, three times for 1.5 s, as a standby or a server whose disk is full.

Would fail for a run whose end is not recorded later, or for a task that is acknowledged and nowhere recorded.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.postgres_states import ReadOnly
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="read-only-postgres",
    summary="Postgres refuses every write, three times 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(ReadOnly(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
