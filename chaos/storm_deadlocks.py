"""Statements end because of deadlocks, again and again, three times for three seconds.

Sessions of the harness lock rows in the opposite order. Would fail for a system that takes a deadlock for an error of
the task, or that forgets the end of a run whose transaction was ended.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.deadlock_storm import DeadlockStorm
from harness.faults.held_state import held
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="storm-deadlocks",
    summary="Postgres ends statements because of deadlocks, three times for three seconds",
    workload=NumberedTasks(rate=25.0, work=(0.05, 0.25)),
    faults=held(DeadlockStorm(), 0.15, 0.45, 0.7, seconds=3.0),
    checkers=standard(recovery_p99=None, minimum_faults=3),
    own_servers=True,
    pool=PoolNeeds(workers=2, concurrency=4, lease=5.0),
    tasks=400,
)
