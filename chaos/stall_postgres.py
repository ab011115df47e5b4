"""Postgres is frozen while a worker is SIGKILLed: the worker's last writes take effect after its death.

The pool's parent releases the worker's leases at the same time. Exactly one of the two may take effect.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.pausing import StallServer
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="stall-postgres",
    summary="Postgres frozen while a worker is SIGKILLed, four times: its last writes take effect late",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(
        StallServer(service="postgres", at=at, seconds=1.0, kill=True) for at in (0.15, 0.35, 0.55, 0.75)
    ),
    checkers=standard(recovery_p99=None, minimum_faults=4, minimum_kills=4),
    own_servers=True,
    pool=PoolNeeds(workers=3, concurrency=4, lease=4.0),
)
