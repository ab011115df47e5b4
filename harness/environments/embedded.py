"""The default backend: Postgres and Valkey from wheels as child processes; needs no Docker and no root."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from harness.environments import local_disks
from harness.environments.backend import ServersEnvironment
from harness.environments.base import SERVICES, Service
from harness.environments.local_postgres import LocalPostgres
from harness.environments.local_redis import LocalRedis
from harness.environments.local_server import LOG_FILE, LocalServer
from harness.environments.services import Server
from harness.environments.session import Session


class EmbeddedEnvironment(ServersEnvironment):
    """Runs both servers as child processes on loopback ports, with their data in the session's folder.

    `postgres_bin` (a folder) and `redis_server` (a program) choose installed servers instead of those from wheels. A
    given port is never replaced by another. `append_only` enables Redis's append-only file.
    """

    name: ClassVar[str] = "embedded"

    def __init__(
        self,
        *,
        postgres_bin: Path | None = None,
        redis_server: Path | None = None,
        postgres_port: int | None = None,
        redis_port: int | None = None,
        append_only: bool = True,
    ) -> None:
        super().__init__()
        self._postgres_bin = postgres_bin
        self._redis_server = redis_server
        self._postgres_port = postgres_port
        self._redis_port = redis_port
        self._append_only = append_only
        self._small_disks: dict[Service, local_disks.SmallDisk] = {}

    @property
    def log_files(self) -> Mapping[Service, Path]:
        """The file with the log of each server; raises `EnvironmentUnavailable` before `start` and after `stop`."""
        return {service: self.folder / service / LOG_FILE for service in SERVICES}

    def make_servers(self, session: Session) -> dict[Service, Server]:
        """Both servers, Valkey first: it starts while initdb runs."""
        redis = LocalRedis(
            session, binary=self._redis_server, port=self._redis_port, append_only=self._append_only
        )
        postgres = LocalPostgres(session, binaries=self._postgres_bin, port=self._postgres_port)
        return {"redis": redis, "postgres": postgres}

    def small_disk(self, service: Service) -> str:
        """A small file system that the server reaches; raises `GateError` where a user cannot make one."""
        if service not in self._small_disks:
            self._small_disks[service] = local_disks.SmallDisk(self._local_server(service))
        return self._small_disks[service].path

    def limited_files(self, service: Service, size: int) -> AbstractContextManager[None]:
        """The server cannot write behind the first `size` bytes of any file."""
        return local_disks.limited_files(self._local_server(service), size)

    def _local_server(self, service: Service) -> LocalServer:
        server = self._server(service)
        assert isinstance(server, LocalServer), "all servers of this backend are"
        return server

    def stop(self) -> None:
        """Kill both servers and remove the session; may be called twice."""
        try:
            super().stop()
        finally:
            while self._small_disks:
                self._small_disks.popitem()[1].close()

    def read_file(self, service: Service, path: str) -> bytes:
        """The content of a file of a server, which is one of this machine."""
        return Path(path).read_bytes()

    def write_file(self, service: Service, path: str, data: bytes) -> None:
        """Replace the content of a file of a server."""
        Path(path).write_bytes(data)
