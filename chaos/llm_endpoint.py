"""Handlers call an LLM endpoint that is slow, refuses, fails and cuts its answers off, two seconds each.

Some answers take longer than a lease. Would fail for a system that gives a task to another worker because its handler
takes long, or whose pool does nothing else while all of its handlers wait.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.endpoint import disturbed
from harness.llm.distribution import LognormalDistribution
from harness.llm.profile import EndpointProfile
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="llm-endpoint",
    summary="handlers call an LLM endpoint: a tail of latencies, a storm of 429, 5xx, cut streams",
    workload=NumberedTasks(rate=16.0, work=(0.0, 0.05)),
    faults=disturbed(
        "slow share=0.3 slowdown=30",
        "429 share=0.9 retry_after=10",
        "500 share=0.5",
        "503 share=0.5 slowdown=8",
        "cut share=0.6",
    ),
    checkers=standard(recovery_p99=None, minimum_faults=5),
    pool=PoolNeeds(workers=2, concurrency=8, lease=2.0),
    endpoint=EndpointProfile(time_scale=20.0, output_tokens=LognormalDistribution(40, 200)),
)
