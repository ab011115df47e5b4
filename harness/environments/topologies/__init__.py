"""Topologies: an environment in which one of the services has more than one server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.environments.base import Environment, Topology
from harness.environments.services import extra_services
from harness.errors import UsageError

__all__ = ["TOPOLOGY_BACKENDS", "make_topology"]

TOPOLOGY_BACKENDS = ("embedded", "containers")


def make_topology(
    topology: Topology,
    *,
    backend: str = "embedded",
    postgres_bin: Path | None = None,
    redis_server: Path | None = None,
    postgres_image: str | None = None,
    redis_image: str | None = None,
    needs: Sequence[str] = (),
) -> Environment:
    """Make the environment of a backend in a topology, without starting it.

    The options are those of `make_environment`. Raises `UsageError` for a backend that does not run its servers.
    """
    from harness.environments.topologies.environment import (
        ContainersTopology,
        EmbeddedTopology,
        TopologyEnvironment,
    )

    environment: TopologyEnvironment
    if backend == "embedded":
        environment = EmbeddedTopology(topology, postgres_bin=postgres_bin, redis_server=redis_server)
    elif backend == "containers":
        environment = ContainersTopology(topology, postgres_image=postgres_image, redis_image=redis_image)
    else:
        raise UsageError(
            f"The {backend} backend has no topology {topology}. Choose {' or '.join(TOPOLOGY_BACKENDS)}."
        )
    environment.extra_services = extra_services(needs)
    return environment
