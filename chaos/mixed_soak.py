"""Faults of 29 kinds, 162 of them, over 200,000 tasks: what only the combination of faults breaks.

The seed decides the moment of each. Would fail for a repair that relies on what another fault has taken, and for a task
that two faults lose together.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.mixture import mixed
from harness.scenario import SOAK, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_FAULTS = 162
_POOL = PoolNeeds(workers=2, concurrency=8, lease=3.0, graceful_shutdown=3.0)

SCENARIO = Scenario(
    name="mixed-soak",
    summary="162 faults of 29 kinds over 200,000 tasks, in about half an hour",
    workload=NumberedTasks(rate=120.0, work=(0.005, 0.05)),
    faults=mixed(_FAULTS, graceful=_POOL.graceful_shutdown),
    checkers=standard(recovery_p99=None, minimum_faults=_FAULTS - 12)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    pool=_POOL,
    timeout=2_700.0,
    tasks=200_000,
    tags=(SOAK,),
)
