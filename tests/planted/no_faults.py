"""A scenario without faults: it shows whether a target works at all."""

from __future__ import annotations

from harness.checkers import standard
from harness.scenario import Scenario
from harness.workloads.numbered_tasks import NumberedTasks

SCENARIO = Scenario(
    name="no-faults",
    summary="no faults at all",
    workload=NumberedTasks(rate=60.0, work=(0.0, 0.05)),
    faults=(),
    checkers=standard(recovery_p99=None),
    destructive=False,
)
