"""The default backend: Postgres and Valkey from wheels as child processes; needs no Docker and no root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from harness.environments.backend import ServersEnvironment
from harness.environments.base import SERVICES, Service
from harness.environments.local_postgres import LocalPostgres
from harness.environments.local_redis import LocalRedis
from harness.environments.local_server import LOG_FILE
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

    def read_file(self, service: Service, path: str) -> bytes:
        """The content of a file of a server, which is one of this machine."""
        return Path(path).read_bytes()

    def write_file(self, service: Service, path: str, data: bytes) -> None:
        """Replace the content of a file of a server."""
        Path(path).write_bytes(data)
