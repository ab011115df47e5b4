"""Replies of Redis and of Postgres are lost with their connections, after the server carried out the request.

A proxy of the harness stands in front of both servers. Clients and workers cannot know whether a request took effect.
They send it again, and it takes effect once.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.replies import LoseReply
from harness.scenario import RELEASE, SMOKE, PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="lose-reply",
    summary="replies of Redis and Postgres lost after the request was carried out, in four intervals of 1.5 s",
    workload=NumberedTasks(rate=20.0, work=(0.05, 0.25)),
    faults=(
        LoseReply(service="redis", at=0.05, replies=6, seconds=1.5),
        LoseReply(service="postgres", at=0.28, replies=6, seconds=1.5),
        LoseReply(service="redis", at=0.51, replies=6, seconds=1.5),
        LoseReply(service="postgres", at=0.74, replies=6, seconds=1.5),
    ),
    checkers=standard(recovery_p99=None, minimum_faults=4),
    proxied=("redis", "postgres"),
    pool=PoolNeeds(workers=3, concurrency=4, lease=4.0),
    tags=(SMOKE, RELEASE),
)
