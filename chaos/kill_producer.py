"""SIGKILL of a producer, eight times: between the commit of a task and its dispatch, and while it waits for an answer.

A task whose submission got no answer may end or not; one that was acknowledged has to end. Would fail for a producer
that answers before its task is stored, and for a task that is stored twice.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.producers import KillProducer
from harness.scenario import PoolNeeds, Scenario
from harness.wire import Moment
from harness.workloads.numbered_tasks import NumberedTasks

_MOMENTS = (
    ("redis", Moment.BEFORE),
    ("redis", Moment.AFTER),
    ("postgres", Moment.BEFORE),
    ("postgres", Moment.AFTER),
)

SCENARIO = Scenario(
    name="kill-producer",
    summary="SIGKILL of one of two producers between commit and dispatch, and while it waits, eight times",
    workload=NumberedTasks(rate=12.0, work=(0.05, 0.25)),
    faults=tuple(
        KillProducer(service=service, moment=moment, at=0.05 + number / 10)
        for number, (service, moment) in enumerate(_MOMENTS * 2)
    ),
    # The last ones may begin when all tasks are submitted.
    checkers=standard(recovery_p99=None, minimum_faults=4),
    pool=PoolNeeds(workers=2, concurrency=4, lease=5.0),
    producers=2,
)
