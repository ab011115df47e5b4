"""The disk of Postgres is full, and then that of Redis, twice each: what needs more space is refused.

Enqueue fails or succeeds as Postgres does. Would fail for a system that forgets the end of a run which it could not
record, or that takes the refusal for an error of the task.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.full_disk import FillDisk
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_PLACES = (("postgres", 0.1), ("redis", 0.3), ("postgres", 0.5), ("redis", 0.7))

SCENARIO = Scenario(
    name="fill-disk",
    summary="the disks of Postgres and of Redis are full, twice each for 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(FillDisk(service=service, at=at) for service, at in _PLACES),
    checkers=standard(recovery_p99=None, minimum_faults=4),
    own_servers=True,
    pool=PoolNeeds(workers=2, concurrency=4, lease=5.0),
)
