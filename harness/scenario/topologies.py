"""Which scenarios a run can have: those whose servers its backend has and its target can reach."""

from __future__ import annotations

from collections.abc import Collection

from harness.environments.base import Topology
from harness.environments.topologies import TOPOLOGY_BACKENDS, pgbouncer
from harness.scenario.scenario import Scenario
from harness.targets.base import Target


def why_no_topology(scenario: Scenario, backend: str, target: Target) -> str | None:
    """Why a run cannot have the servers of the scenario, as in `needs x, which is not installed`; None if it can."""
    topology = scenario.topology
    if topology is None:
        return None
    if backend not in TOPOLOGY_BACKENDS:
        return (
            f"needs the topology {topology}, which only the backends {' and '.join(TOPOLOGY_BACKENDS)} have"
        )
    reached: Collection[Topology] = getattr(target, "topologies", ())
    if topology not in reached:
        return f"needs the topology {topology}, which `topologies` of {target.name} does not name"
    if backend == "embedded" and topology is Topology.PGBOUNCER and pgbouncer.program() is None:
        return "needs PgBouncer, which is not installed: run `apt-get install pgbouncer`"
    return None
