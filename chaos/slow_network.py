"""The network to Redis, then to Postgres, is slow, narrow and jittery; then the answers of each come in small slices.

Would fail for a client that takes slow for dead, for leases that expire because their renewal is late, and for a reader
that expects a whole reply at once.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.links import DisturbLink
from harness.scenario import PoolNeeds, Scenario
from harness.wire import Conditions, Direction
from harness.workloads.numbered_tasks import NumberedTasks

_SLOW = Conditions(latency=0.03, jitter=0.05, bandwidth=100_000, slow_close=0.5)
_SLICED = Conditions(slice_bytes=16, slice_seconds=0.001)

SCENARIO = Scenario(
    name="slow-network",
    summary="latency, jitter and little bandwidth to Redis and Postgres; then their answers in slices of 16 bytes",
    workload=NumberedTasks(rate=16.0, work=(0.05, 0.25)),
    faults=(
        DisturbLink(service="redis", at=0.05, conditions=_SLOW),
        DisturbLink(service="postgres", at=0.3, conditions=_SLOW),
        DisturbLink(service="redis", at=0.55, conditions=_SLICED, directions=(Direction.TO_CLIENT,)),
        DisturbLink(service="postgres", at=0.75, conditions=_SLICED, directions=(Direction.TO_CLIENT,)),
    ),
    checkers=standard(recovery_p99=None, minimum_faults=4),
    proxied=("redis", "postgres"),
    pool=PoolNeeds(workers=2, concurrency=4, lease=5.0),
)
