"""Agents that ask a model step by step, as an application under test, and two kinds of kills."""

from __future__ import annotations

import openai  # noqa: F401 - its import takes long on a busy machine, and a pool that starts is waited for

from examples.agents import agents
from harness.checkers import standard
from harness.faults.process import kill_pool, kill_worker_at_gate
from harness.scenario import PoolNeeds, Scenario
from harness.testing import app
from harness.workloads.numbered_tasks import NumberedTasks

AGENTS = app(
    agents.pool,
    setup=agents.create_tables,
    make=lambda number: ("research", agents.Research(question=f"Why {number}?", checkpoints=False)),
    work=0,
)

SCENARIO = Scenario(
    name="agents-under-load",
    summary="SIGKILL of a worker and of a pool while agents without checkpoints ask a model",
    workload=NumberedTasks(),
    faults=(kill_worker_at_gate(at=0.3), kill_pool(at=0.6)),
    checkers=standard(minimum_faults=2, minimum_kills=2, recovery_p99=None),
    pool=PoolNeeds(workers=2, concurrency=4, lease=3.0),
    timeout=90.0,
)
