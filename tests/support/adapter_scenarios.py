"""Scenarios for adapters in tests: kills aimed by gates, and no faults at all."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers import faults_injected, recovery
from harness.faults.process import kill_worker_at_gate
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

AIMED_KILLS = Scenario(
    name="aimed-kills",
    summary="SIGKILL of two workers in the middle of tasks, aimed by gates",
    workload=NumberedTasks(rate=10.0, work=(0.02, 0.05)),
    faults=tuple(kill_worker_at_gate(at=at) for at in (0.3, 0.6)),
    checkers={"faults": faults_injected(2, minimum_kills=2), "recovery": recovery(None)},
    pool=PoolNeeds(workers=2, concurrency=1),
)
LONG = replace(
    AIMED_KILLS, name="long", faults=(), workload=NumberedTasks(rate=1.0, work=(0.5, 0.6)), timeout=300.0
)
