"""The backends that run servers, in one of the topologies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.environments.backend import ServersEnvironment
from harness.environments.base import SERVICES, Endpoints, ServerVersions, Service, Topology
from harness.environments.containers import ContainersEnvironment
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.services import Server
from harness.environments.session import Session
from harness.environments.topologies.group import ServerGroup
from harness.environments.topologies.local_members import LocalRedisServers, local_pair
from harness.environments.topologies.pgbouncer import LocalPgbouncer
from harness.environments.topologies.postgres_standby import PostgresWithStandby
from harness.environments.topologies.redis_sentinel import RedisBehindSentinels
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.environments.topologies.container_members import Pod


_PLACES: Mapping[Topology, tuple[Service, int]] = {
    Topology.REDIS_SENTINEL: ("redis", RedisBehindSentinels.size),
    Topology.POSTGRES_STANDBY: ("postgres", PostgresWithStandby.size),
    Topology.PGBOUNCER: ("postgres", 2),
}
"""The service that has several servers, and how many these are."""


class TopologyEnvironment(ServersEnvironment):
    """Servers in a topology; they end with the session as the others do."""

    _topology: Topology

    @abstractmethod
    def make_pooler(self, session: Session, database_url: str) -> Server:
        """PgBouncer before this database, not launched."""

    def bring_up(self, session: Session) -> tuple[Endpoints, ServerVersions]:
        """As the backend; a pooler starts last, and clients reach Postgres through it."""
        endpoints, versions = super().bring_up(session)
        if self._topology is not Topology.PGBOUNCER:
            return endpoints, versions
        pooler = self.make_pooler(session, endpoints.database_url)
        self._servers["pgbouncer"] = pooler
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


class EmbeddedTopology(TopologyEnvironment, EmbeddedEnvironment):
    """The embedded backend in a topology."""

    def __init__(
        self, topology: Topology, *, postgres_bin: Path | None = None, redis_server: Path | None = None
    ) -> None:
        super().__init__(postgres_bin=postgres_bin, redis_server=redis_server)
        self._topology = topology

    def make_servers(self, session: Session) -> dict[Service, Server]:
        """Both services, with the group of servers of the topology in place of one."""
        servers = super().make_servers(session)
        if self._topology is Topology.REDIS_SENTINEL:
            servers["redis"] = RedisBehindSentinels(LocalRedisServers(session, binary=self._redis_server))
        elif self._topology is Topology.POSTGRES_STANDBY:
            servers["postgres"] = local_pair(session, binaries=self._postgres_bin)
        return servers

    def make_pooler(self, session: Session, database_url: str) -> Server:
        """The PgBouncer of this machine."""
        return LocalPgbouncer(session, database_url=database_url)


class ContainersTopology(TopologyEnvironment, ContainersEnvironment):
    """The containers backend in a topology: the servers of the service with several are in one pod."""

    def __init__(
        self, topology: Topology, *, postgres_image: str | None = None, redis_image: str | None = None
    ) -> None:
        super().__init__(postgres_image=postgres_image, redis_image=redis_image)
        self._topology = topology
        self._pod: Pod | None = None
        if topology is Topology.PGBOUNCER:
            self._images["pgbouncer"] = None

    def make_servers(self, session: Session) -> dict[Service, Server]:
        """Both services, with the servers of the topology in place of one; starts the pod."""
        from harness.environments.container_server import ContainerServer, single_server
        from harness.environments.topologies import container_members as members

        images = self.find_images(session)
        service, size = _PLACES[self._topology]
        image = images[service]
        self._pod = pod = members.Pod(service, image, session, size=size)
        pod.begin()
        several: Server
        if self._topology is Topology.REDIS_SENTINEL:
            several = RedisBehindSentinels(members.PodRedisServers(image, session, pod))
        elif self._topology is Topology.POSTGRES_STANDBY:
            several = members.pod_pair(image, session, pod)
        else:
            several = members.pod_postgres(image, session, pod)
            self._make_pooler = partial(members.PodPgbouncer, images["pgbouncer"], session, pod)
        return {
            one: several if one == service else ContainerServer(single_server(one), images[one], session)
            for one in SERVICES
        }

    def make_pooler(self, session: Session, database_url: str) -> Server:
        """A PgBouncer in the pod of its Postgres."""
        return self._make_pooler(database_url=database_url)

    def stop(self) -> None:
        """Kill all servers and remove the session; may be called twice."""
        try:
            super().stop()
        finally:
            if self._pod is not None:
                self._pod.forget()
                self._pod = None
