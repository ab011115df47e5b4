"""The interface of an environment: a Postgres, a Redis, further services by name, and optional faults of the servers.

An `Environment` is a context manager. Every backend can start, stop, and report endpoints and logs. Killing and
pausing are separate protocols, because an external server cannot be paused. Check for them with
`isinstance(environment, Killable)`; no backend has a method that only raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

Service = str
"""The name of a service: `postgres`, `redis`, or one of the entry points `harness.services`."""
SERVICES: tuple[Service, ...] = ("postgres", "redis")
"""The services that every environment has."""

LEADS_TO: Mapping[Service, Service] = {"pgbouncer": "postgres"}
"""Servers that only forward to a service, by name, with that service."""

WATCHING = "agentexec-harness"
"""The `application_name` of connections by which the harness watches Postgres: no fault is aimed at them."""

MINIMUM_POSTGRES = (14, 0)
MINIMUM_REDIS = (7, 0)


class Topology(StrEnum):
    """The servers of an environment in which one of the services has more than one.

    redis-sentinel: a primary of Redis, two replicas and three Sentinels.
    postgres-standby: a primary of Postgres and a synchronous streaming standby.
    pgbouncer: PgBouncer before Postgres, in transaction mode.
    """

    REDIS_SENTINEL = "redis-sentinel"
    POSTGRES_STANDBY = "postgres-standby"
    PGBOUNCER = "pgbouncer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """The URLs of the servers with credentials; log them only through `harness.masking`.

    `others` has the URLs of further services by name.
    """

    database_url: str
    redis_url: str
    others: Mapping[Service, str] = field(default_factory=dict)

    @property
    def services(self) -> Mapping[Service, str]:
        """The URL of each service by its name."""
        urls = {"postgres": self.database_url, "redis": self.redis_url, **self.others}
        return {name: url for name, url in urls.items() if url}

    def url(self, service: Service) -> str:
        """The URL of one server; empty if the environment does not have it."""
        return self.services.get(service, "")

    def replace(self, urls: Mapping[Service, str]) -> Endpoints:
        """These endpoints with other URLs for some servers."""
        others = {name: urls.get(name, url) for name, url in self.others.items()}
        return Endpoints(
            database_url=urls.get("postgres", self.database_url),
            redis_url=urls.get("redis", self.redis_url),
            others=others,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerVersions:
    """The names and versions that the servers report, for example `PostgreSQL 18.6` and `Valkey 9.1.2`."""

    postgres: str
    redis: str
    others: Mapping[Service, str] = field(default_factory=dict)


@runtime_checkable
class Environment(Protocol):
    """One Postgres and one Redis for the duration of a run.

    `start` returns once both servers answer queries and raises `EnvironmentUnavailable` if they do not. `stop` may be
    called twice and after a failed `start`; no process, container or file remains afterwards.
    """

    @property
    def name(self) -> str:
        """The backend's name on the command line: `embedded`, `containers` or `external`."""
        ...

    @property
    def endpoints(self) -> Endpoints:
        """URLs of the running servers; raises `EnvironmentUnavailable` before `start`."""
        ...

    @property
    def versions(self) -> ServerVersions:
        """Versions of the running servers; raises `EnvironmentUnavailable` before `start`."""
        ...

    @property
    def folder(self) -> Path:
        """The folder of this run, also for working files of the target; `stop` removes it."""
        ...

    def start(self) -> None:
        """Start both servers."""
        ...

    def stop(self) -> None:
        """Stop and remove everything that `start` created."""
        ...

    def logs(self, service: Service) -> str:
        """The log of the server so far; empty if the backend has no access to it."""
        ...

    def __enter__(self) -> Self:
        """Start and return the environment."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the environment, also after an error."""
        ...


@runtime_checkable
class LogsInFiles(Protocol):
    """An environment whose servers write their logs to files of this machine."""

    @property
    def log_files(self) -> Mapping[Service, Path]:
        """The file with the log of each server."""
        ...


@runtime_checkable
class FileAccess(Protocol):
    """An environment that reads and writes the files of its servers, also while these are down."""

    def read_file(self, service: Service, path: str) -> bytes:
        """The content of a file of the server; raises OSError or `EnvironmentUnavailable`."""
        ...

    def write_file(self, service: Service, path: str, data: bytes) -> None:
        """Replace the content of a file that exists; its owner and rights stay."""
        ...


SMALL_DISK_BYTES = 48 * 2**20
"""The size of the file system that a fault fills."""


@runtime_checkable
class DiskLimits(Protocol):
    """An environment that bounds what its servers can write."""

    def small_disk(self, service: Service) -> str:
        """The path by which the server reaches a file system of `SMALL_DISK_BYTES`; raises `GateError`."""
        ...

    def limited_files(self, service: Service, size: int) -> AbstractContextManager[None]:
        """The server cannot write behind the first `size` bytes of any file, inside the context; raises `GateError`."""
        ...


@runtime_checkable
class Killable(Protocol):
    """An environment whose servers can be killed, and started again on the same port and data."""

    def kill(self, service: Service) -> None:
        """SIGKILL the server and all its processes; returns once they are gone."""
        ...

    def restart(self, service: Service) -> None:
        """Start a killed or running server again on the same port and data; returns once it answers."""
        ...


@runtime_checkable
class Restartable(Protocol):
    """An environment whose servers can be shut down in order, and started again on the same port and data."""

    def shut_down(self, service: Service) -> None:
        """Stop the server with the signal of an operator, so that it saves what it saves; returns once it is gone."""
        ...

    def restart(self, service: Service) -> None:
        """Start the server again on the same port and data; returns once it answers."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """An environment whose servers can be frozen: connections stay open, but no query is answered."""

    def pause(self, service: Service) -> None:
        """Freeze every process of the server (SIGSTOP or its equivalent)."""
        ...

    def resume(self, service: Service) -> None:
        """Resume a frozen server; returns once it answers."""
        ...


@runtime_checkable
class FailsOver(Protocol):
    """An environment in which a service has a primary, and another server that can replace it."""

    def fail_over(self, service: Service, *, lag: float = 0.0, frozen: bool = False) -> None:
        """SIGKILL the primary, or freeze it; returns once another server is the primary.

        `lag` is how many seconds before that the other servers no longer receive what the primary acknowledges.
        """
        ...

    def rejoin(self, service: Service) -> None:
        """Bring the lost server back as a replica, if there is one; returns once all servers are in step."""
        ...
