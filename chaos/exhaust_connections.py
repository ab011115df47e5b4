"""Every connection of Postgres is taken, three times for 1.5 s: it refuses new ones, and the pool has lost its own.

Would fail for a worker that ends, or that forgets the end of a run which it could not record at once.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.postgres_states import ConnectionsExhausted
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="exhaust-connections",
    summary="Postgres has no free connection, three times 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(ConnectionsExhausted(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
