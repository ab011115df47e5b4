"""Every connection to Postgres is terminated again and again, three times for 1.5 s.

Would fail for a system that gives up after some attempts, or that records twice what it sent again.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.held_state import held
from harness.faults.postgres_states import BackendsTerminated
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="terminate-storm",
    summary="connections of Postgres are terminated again and again, three times 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=held(BackendsTerminated(), 0.2, 0.45, 0.7),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=_POOL,
)
