"""Every connection to Postgres is terminated under load, five times; the server accepts new ones at once.

A statement may fail, or take effect without an answer. Clients and workers connect again and repeat it, and it takes
effect once.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.backends import TerminateBackends
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="terminate-backends",
    summary="pg_terminate_backend of every connection under load, five times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(TerminateBackends(at=at) for at in (0.1, 0.25, 0.4, 0.55, 0.7)),
    checkers=standard(recovery_p99=None, minimum_faults=5),
    own_servers=True,
    pool=PoolNeeds(workers=3, concurrency=4, lease=4.0),
)
