"""The embedded backend in one of the topologies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.environments.base import Endpoints, ServerVersions, Service, Topology
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.services import Server
from harness.environments.session import Session
from harness.environments.topologies.group import ServerGroup
from harness.environments.topologies.pgbouncer import LocalPgbouncer
from harness.environments.topologies.postgres_standby import PostgresWithStandby
from harness.environments.topologies.redis_sentinel import RedisBehindSentinels
from harness.errors import UsageError


class TopologyEnvironment(EmbeddedEnvironment):
    """Embedded servers in a topology; they end with the session as the others do."""

    def __init__(
        self, topology: Topology, *, postgres_bin: Path | None = None, redis_server: Path | None = None
    ) -> None:
        super().__init__(postgres_bin=postgres_bin, redis_server=redis_server)
        self._topology = topology

    def make_servers(self, session: Session) -> dict[Service, Server]:
        """Both services, with the group of servers of the topology in place of one."""
        servers = super().make_servers(session)
        if self._topology is Topology.REDIS_SENTINEL:
            servers["redis"] = RedisBehindSentinels(session, binary=self._redis_server)
        elif self._topology is Topology.POSTGRES_STANDBY:
            servers["postgres"] = PostgresWithStandby(session, binaries=self._postgres_bin)
        return servers

    def bring_up(self, session: Session) -> tuple[Endpoints, ServerVersions]:
        """As the embedded backend; a pooler starts last, and clients reach Postgres through it."""
        endpoints, versions = super().bring_up(session)
        if self._topology is not Topology.PGBOUNCER:
            return endpoints, versions
        pooler = LocalPgbouncer(session, database_url=endpoints.database_url)
        self._servers[pooler.service] = pooler
        pooler.begin()
        pooler.finish()
        through = f"{versions.postgres} behind {pooler.version}"
        return endpoints.replace({"postgres": pooler.url}), replace(versions, postgres=through)

    def fail_over(self, service: Service, *, lag: float = 0.0, frozen: bool = False) -> None:
        """SIGKILL the primary, or freeze it; returns once another server is the primary."""
        self._group(service).fail_over(lag=lag, frozen=frozen)

    def rejoin(self, service: Service) -> None:
        """Bring the lost server back as a replica; returns once all servers are in step."""
        self._group(service).rejoin()

    def _group(self, service: Service) -> ServerGroup:
        server = self._server(service)
        if not isinstance(server, ServerGroup):
            raise UsageError(
                f"{service} has no replica in the topology {self._topology}. "
                f"Choose {Topology.REDIS_SENTINEL} or {Topology.POSTGRES_STANDBY}."
            )
        return server
