"""The network between the workers and their servers fails in every way: one direction only, half open, reset, cut.

In a one-way failure the server carries out what the workers send, and no answer comes back for longer than a lease.
Would fail for a worker that waits for ever for an answer, and for one that sends again what took effect, and takes
effect twice.
"""

from __future__ import annotations

from harness.checkers import budget_per_fault, duplicates, standard
from harness.faults.links import DisturbLink, LinkCut
from harness.scenario import PoolNeeds, Scenario
from harness.wire import Conditions, Direction
from harness.workloads.numbered_tasks import NumberedTasks

_POOL = PoolNeeds(workers=2, concurrency=4, lease=3.0)
_BLACK_HOLE = Conditions(blocked=True)
_ANSWERS, _REQUESTS = (Direction.TO_CLIENT,), (Direction.TO_SERVER,)

SCENARIO = Scenario(
    name="cut-network",
    summary="answers or requests vanish one way, connections are half open, reset and cut",
    workload=NumberedTasks(rate=12.0, work=(0.05, 0.25)),
    faults=(
        DisturbLink(
            service="redis", at=0.05, seconds=5.0, conditions=_BLACK_HOLE, directions=_ANSWERS, of_pool=True
        ),
        DisturbLink(
            service="postgres",
            at=0.3,
            seconds=5.0,
            conditions=_BLACK_HOLE,
            directions=_REQUESTS,
            of_pool=True,
        ),
        DisturbLink(service="redis", at=0.5, seconds=3.0, cut=LinkCut.HALF_OPEN, of_pool=True),
        DisturbLink(service="postgres", at=0.65, cut=LinkCut.RESET),
        DisturbLink(service="redis", at=0.75, cut=LinkCut.CUT),
        DisturbLink(service="postgres", at=0.85, cut=LinkCut.CUT),
    ),
    checkers=standard(recovery_p99=None, minimum_faults=6)
    | {"duplicates": duplicates(budget_per_fault(_POOL.workers * _POOL.concurrency))},
    proxied=("redis", "postgres"),
    pool=_POOL,
    timeout=90.0,
)
