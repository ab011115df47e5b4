"""A simulated run in the form of any other run, for the reports."""

from __future__ import annotations

import agentexec as ax
from harness.environments.base import ServerVersions
from harness.history.figures import counted
from harness.scenario import ScenarioRun
from harness.simulation.simulation import SimulationResult


def as_run(outcome: SimulationResult, *, repeat: str) -> ScenarioRun:
    """The run for `harness.report.write_reports`; `repeat` is the command that runs it again, seconds are virtual."""
    plan = outcome.plan
    return ScenarioRun(
        scenario=f"simulation-{plan.seed}",
        summary=f"{counted(len(plan.tasks), 'task')} and {counted(outcome.injected, 'fault')} in virtual time.",
        backend="simulated",
        target="agentexec",
        target_version=ax.__version__,
        seed=plan.seed,
        tasks=len(plan.tasks),
        servers=ServerVersions(postgres="the store on SQLite in memory", redis="the queue in memory"),
        history=outcome.history,
        results=outcome.results,
        seconds=outcome.seconds,
        repeat=repeat,
    )
