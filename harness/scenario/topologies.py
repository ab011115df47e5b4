"""Which scenarios a run can have: those whose servers its backend has and its target can reach."""

from __future__ import annotations

from collections.abc import Collection

from harness.environments.base import Topology
from harness.environments.topologies import pgbouncer
from harness.scenario.scenario import Scenario
from harness.targets.base import Target

_BACKEND = "embedded"


def why_no_topology(scenario: Scenario, backend: str, target: Target) -> str | None:
    """Why a run cannot have the topology of the scenario, with the remedy, as one sentence; None if it can."""
    topology = scenario.topology
    if topology is None:
        return None
    if backend != _BACKEND:
        return f"the topology {topology} exists only with --backend {_BACKEND}"
    reached: Collection[Topology] = getattr(target, "topologies", ())
    if topology not in reached:
        return (
            f"{target.name} does not say that it connects to {topology}; name that in `topologies` if it does"
        )
    if topology is Topology.PGBOUNCER and pgbouncer.program() is None:
        return "PgBouncer is not installed; run `apt-get install pgbouncer`"
    return None
