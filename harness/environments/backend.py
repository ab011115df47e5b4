"""Base classes of the backends: a session around the servers, and faults for servers that the harness runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from harness.environments.base import Endpoints, ServerVersions, Service
from harness.environments.services import Server, service_factory
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable, UsageError


class SessionEnvironment(ABC):
    """Opens a session, starts the servers, and closes the session, also after an error."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self._session: Session | None = None
        self._endpoints: Endpoints | None = None
        self._versions: ServerVersions | None = None

    @abstractmethod
    def bring_up(self, session: Session) -> tuple[Endpoints, ServerVersions]:
        """Return once both servers answer; raises `EnvironmentUnavailable`."""

    def logs(self, service: Service) -> str:
        """The log of the server so far; empty if the backend has no access to it."""
        return ""

    @property
    def endpoints(self) -> Endpoints:
        """URLs of both servers; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        if self._endpoints is None:
            raise self._not_started()
        return self._endpoints

    @property
    def versions(self) -> ServerVersions:
        """Versions of both servers; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        if self._versions is None:
            raise self._not_started()
        return self._versions

    @property
    def session(self) -> Session:
        """The session; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        if self._session is None:
            raise self._not_started()
        return self._session

    @property
    def folder(self) -> Path:
        """The session's folder; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        return self.session.folder

    def start(self) -> None:
        """Return once both servers answer. On an error, closes the session and raises `EnvironmentUnavailable`."""
        if self._session is not None:
            raise EnvironmentUnavailable(f"The {self.name} environment runs already. Call `stop` first.")
        self._session = Session.open()
        try:
            self._endpoints, self._versions = self.bring_up(self._session)
            self._session.require_reaper()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close the session with all that belongs to it; may be called twice."""
        session, self._session = self._session, None
        self._endpoints = self._versions = None
        if session is not None:
            session.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _not_started(self) -> EnvironmentUnavailable:
        return EnvironmentUnavailable(f"The {self.name} environment is not started. Call `start` first.")


class ServersEnvironment(SessionEnvironment):
    """A backend that runs its servers and can kill, restart and freeze them."""

    def __init__(self) -> None:
        super().__init__()
        self.extra_services: tuple[Service, ...] = ()
        """Further services to start, by name; set it before `start`."""
        self._servers: dict[Service, Server] = {}

    @abstractmethod
    def make_servers(self, session: Session) -> dict[Service, Server]:
        """Both servers, not launched; the server with the longest preparation is last."""

    def bring_up(self, session: Session) -> tuple[Endpoints, ServerVersions]:
        """Launch all servers in parallel and wait for all; raises `EnvironmentUnavailable`."""
        self._servers = self.make_servers(session)
        self._servers |= {name: service_factory(name)(session) for name in self.extra_services}
        for server in self._servers.values():
            server.begin()
        for server in self._servers.values():
            server.finish()
        postgres, redis = self._servers["postgres"], self._servers["redis"]
        others = {name: self._servers[name] for name in self.extra_services}
        urls = {name: server.url for name, server in others.items()}
        versions = {name: server.version for name, server in others.items()}
        return (
            Endpoints(database_url=postgres.url, redis_url=redis.url, others=urls),
            ServerVersions(postgres=postgres.version, redis=redis.version, others=versions),
        )

    def stop(self) -> None:
        """Kill both servers and remove the session; may be called twice."""
        try:
            super().stop()
        finally:
            servers, self._servers = self._servers, {}
            for server in servers.values():
                server.forget()

    def logs(self, service: Service) -> str:
        """The log of the server so far; empty before `start` and after `stop`."""
        return self._servers[service].log() if service in self._servers else ""

    def kill(self, service: Service) -> None:
        """SIGKILL the server and all its processes; returns once they are gone."""
        self._server(service).kill()

    def shut_down(self, service: Service) -> None:
        """Stop the server in order (Postgres: fast shutdown), by SIGKILL after 10 s; returns once it is gone."""
        self._server(service).shut_down()

    def restart(self, service: Service) -> None:
        """Start a killed or running server again on the same port and data; returns once it answers."""
        self._server(service).restart()

    def pause(self, service: Service) -> None:
        """Freeze every process of the server; returns once all are frozen."""
        self._server(service).pause()

    def resume(self, service: Service) -> None:
        """Resume a frozen server; returns once it answers."""
        self._server(service).resume()

    def _server(self, service: Service) -> Server:
        if self._endpoints is None:
            raise self._not_started()
        if service not in self._servers:
            raise UsageError(
                f"The environment has no service {service!r}; it has {', '.join(self._servers)}. "
                "Name the service in `needs` of the adapter."
            )
        return self._servers[service]
