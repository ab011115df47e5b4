"""Faults of every kind that one run can have, three times each over 200,000 tasks: what only their combination breaks.

The seed decides the moment of each. Would fail for a repair that relies on what another fault has taken, and for a task
that two faults lose together. 150 tasks a second are submitted within 22 minutes and a quarter; a fault then has 7 s on
average, and needs 4.
"""

from __future__ import annotations

from dataclasses import replace

from harness.checkers import budget_per_fault, delivery, duplicates, faults_injected, memory, poison, standard
from harness.faults.mixture import PRODUCERS, PROXIED, mixed, number_of_kinds
from harness.scenario import SOAK, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_FAULTS = 194
_POOL = PoolNeeds(workers=2, concurrency=8, lease=3.0, graceful_shutdown=3.0)

SCENARIO = Scenario(
    name="mixed-soak",
    summary=f"{_FAULTS} faults of 54 kinds over 200,000 tasks, in less than half an hour",
    workload=NumberedTasks(rate=150.0, work=(0.005, 0.05)),
    faults=mixed(_FAULTS, graceful=_POOL.graceful_shutdown),
    checkers=standard(recovery_p99=None, minimum_faults=_FAULTS - 16)
    | {"delivery": delivery(allow_errors=True), "poison": poison(), "memory": memory()}
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    own_servers=True,
    proxied=PROXIED,
    producers=PRODUCERS,
    pool=_POOL,
    timeout=2_700.0,
    tasks=200_000,
    tags=(SOAK,),
)

SHORT = replace(
    SCENARIO,
    name="mixed-soak-short",
    summary="each kind of mixed-soak once, over 45,000 tasks",
    faults=mixed(number_of_kinds(), graceful=_POOL.graceful_shutdown),
    checkers={**SCENARIO.checkers, "faults": faults_injected(number_of_kinds() - 6)},
    tasks=45_000,
)
