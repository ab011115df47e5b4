"""The wall clock of a worker jumps an hour ahead, then an hour behind, then is right again, four times.

Would fail for a worker whose leases or time-outs are points in time of its own clock: it gives up what it runs, or
never takes over what another has left.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.clock import JumpClock
from harness.faults.process import kill_worker_at_gate
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="jump-clock",
    summary="the clock of a worker jumps an hour ahead and an hour behind, four times, and a worker is killed",
    workload=NumberedTasks(rate=16.0, work=(0.05, 0.25)),
    faults=(*(JumpClock(at=at) for at in (0.1, 0.3, 0.5)), kill_worker_at_gate(at=0.65), JumpClock(at=0.75)),
    checkers=standard(concurrency=_POOL.concurrency, minimum_faults=5, minimum_kills=1),
    pool=_POOL,
)
