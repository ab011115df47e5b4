"""The default backend: Postgres and Valkey from wheels, as child processes. No Docker, no root, no installation."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from harness.environment import Endpoints, ServerVersions, Service
from harness.environments.local_postgres import LocalPostgres
from harness.environments.local_redis import LocalRedis
from harness.environments.local_server import LocalServer
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable


class EmbeddedEnvironment:
    """Both servers as children of this process, on loopback ports, with their data in the session's folder.

    `postgres_bin` (a folder) and `redis_server` (a program) ask for installed servers instead of those from wheels;
    a port that is given is used or refused, never replaced. `append_only` is Redis's append-only file.
    """

    name = "embedded"

    def __init__(
        self,
        *,
        postgres_bin: Path | None = None,
        redis_server: Path | None = None,
        postgres_port: int | None = None,
        redis_port: int | None = None,
        append_only: bool = True,
    ) -> None:
        self._postgres_bin = postgres_bin
        self._redis_server = redis_server
        self._postgres_port = postgres_port
        self._redis_port = redis_port
        self._append_only = append_only
        self._session: Session | None = None
        self._servers: dict[Service, LocalServer] = {}
        self._ready = False

    @property
    def endpoints(self) -> Endpoints:
        """URLs of both servers; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        self._require_ready()
        return Endpoints(database_url=self._servers["postgres"].url, redis_url=self._servers["redis"].url)

    @property
    def versions(self) -> ServerVersions:
        """Versions of both servers; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        self._require_ready()
        return ServerVersions(
            postgres=self._servers["postgres"].version, redis=self._servers["redis"].version
        )

    @property
    def session(self) -> Session:
        """The session; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        if self._session is None:
            raise EnvironmentUnavailable("The embedded servers are not started. Call `start` first.")
        return self._session

    @property
    def folder(self) -> Path:
        """The session's folder."""
        return self.session.folder

    def start(self) -> None:
        """Start both servers side by side; raises `EnvironmentUnavailable`."""
        if self._session is not None:
            raise EnvironmentUnavailable("The embedded servers run already. Call `stop` first.")
        self._session = Session.open()
        try:
            self._start_servers(self._session)
        except BaseException:
            self.stop()
            raise
        self._ready = True

    def stop(self) -> None:
        """Kill both servers and remove the session."""
        session, self._session = self._session, None
        self._ready = False
        if session is None:
            return
        try:
            session.close()
        finally:
            for server in self._servers.values():
                server.forget()

    def logs(self, service: Service) -> str:
        """Everything the server wrote so far; empty before `start` and after `stop`."""
        return self._servers[service].log() if service in self._servers else ""

    def kill(self, service: Service) -> None:
        """SIGKILL the server and every process of it; returns when they are gone."""
        self._server(service).kill()

    def restart(self, service: Service) -> None:
        """Start a killed or running server again on the same port and data; returns when it answers."""
        self._server(service).restart()

    def pause(self, service: Service) -> None:
        """SIGSTOP every process of the server; returns when all have stopped."""
        self._server(service).pause()

    def resume(self, service: Service) -> None:
        """SIGCONT every process of the server; returns when it answers."""
        self._server(service).resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_servers(self, session: Session) -> None:
        redis = LocalRedis(
            session, binary=self._redis_server, port=self._redis_port, append_only=self._append_only
        )
        postgres = LocalPostgres(session, binaries=self._postgres_bin, port=self._postgres_port)
        self._servers = {"redis": redis, "postgres": postgres}
        # Valkey comes up while initdb works.
        for server in self._servers.values():
            server.begin()
        for server in self._servers.values():
            server.finish()
        session.require_reaper()

    def _server(self, service: Service) -> LocalServer:
        self._require_ready()
        return self._servers[service]

    def _require_ready(self) -> None:
        if not self._ready:
            raise EnvironmentUnavailable("The embedded servers are not started. Call `start` first.")
