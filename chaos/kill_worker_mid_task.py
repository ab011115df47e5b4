"""SIGKILL of workers in the middle of tasks: other workers run these tasks again, once and without delay.

Five kills are gated: the handler has begun and waits at its gate. Three strike at random moments, also during a claim
or a finish. The pool survives and replaces the killed workers.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.process import kill_random_worker, kill_worker_at_gate
from harness.scenario import RELEASE, SMOKE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="kill-worker-mid-task",
    summary="SIGKILL of workers in the middle of tasks, aimed by gates and at random moments",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=(
        *(kill_worker_at_gate(at=at) for at in (0.06, 0.18, 0.30, 0.42, 0.54)),
        *(kill_random_worker(at=at) for at in (0.66, 0.77, 0.88)),
    ),
    checkers=standard(concurrency=4, minimum_faults=5, minimum_kills=5, uses=("effects",)),
    pool=PoolNeeds(workers=3, concurrency=4, lease=4.0),
    tags=(SMOKE, RELEASE),
)
