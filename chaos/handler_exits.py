"""A handler ends the interpreter of its worker, five times, as `os._exit` or a crash of an extension does.

Would fail for a pool that takes the exit of a worker for its own end, or that forgets what the worker ran beside it.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.handler import HandlerExits
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0)

SCENARIO = Scenario(
    name="handler-exits",
    summary="handlers end the interpreter of their worker, five times",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=tuple(HandlerExits(at=at) for at in (0.1, 0.25, 0.4, 0.55, 0.7)),
    checkers=standard(concurrency=_POOL.concurrency, minimum_faults=5, minimum_kills=5),
    pool=_POOL,
)
