"""Topologies: an environment in which one of the services has more than one server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.environments.base import Environment, Topology
from harness.environments.services import extra_services

__all__ = ["make_topology"]


def make_topology(
    topology: Topology,
    *,
    postgres_bin: Path | None = None,
    redis_server: Path | None = None,
    needs: Sequence[str] = (),
) -> Environment:
    """Make the embedded environment in a topology, without starting it; the options are those of `make_environment`."""
    from harness.environments.topologies.environment import TopologyEnvironment

    environment = TopologyEnvironment(topology, postgres_bin=postgres_bin, redis_server=redis_server)
    environment.extra_services = extra_services(needs)
    return environment
