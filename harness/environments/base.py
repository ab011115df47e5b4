"""What a scenario asks of the world: a real Postgres, a real Redis, and verbs to hurt them.

An `Environment` is a context manager. Starting, stopping, endpoints and logs are asked of every backend;
killing, pausing and restarting are separate small protocols, because a staging cluster that is only known by its
URLs cannot be paused. Ask with `isinstance(environment, Killable)`; no backend has a method that only raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

Service = Literal["postgres", "redis"]
SERVICES: tuple[Service, ...] = ("postgres", "redis")

MINIMUM_POSTGRES = (14, 0)
MINIMUM_REDIS = (7, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Where the servers listen, as URLs that carry their credentials (never log them; see `masked`)."""

    database_url: str
    redis_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerVersions:
    """What the running servers said of themselves, for example `PostgreSQL 18.6` and `Valkey 9.1.2`."""

    postgres: str
    redis: str


@runtime_checkable
class Environment(Protocol):
    """One Postgres and one Redis for the length of a run.

    `start` returns when both servers answer queries and raises `EnvironmentUnavailable` when they do not;
    `stop` may be called twice and after a failed `start`, and leaves nothing behind.
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
        """A folder of this run's own that `stop` removes; working files of the target live here too."""
        ...

    def start(self) -> None:
        """Bring both servers up."""
        ...

    def stop(self) -> None:
        """Take everything down that `start` brought up."""
        ...

    def logs(self, service: Service) -> str:
        """Everything the server wrote so far; empty where a backend has no access to it."""
        ...

    def __enter__(self) -> Self:
        """Start."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened."""
        ...


@runtime_checkable
class Killable(Protocol):
    """The servers can be killed with SIGKILL, and started again on the same port with the same data."""

    def kill(self, service: Service) -> None:
        """SIGKILL the server and every process of it; returns when they are gone."""
        ...

    def restart(self, service: Service) -> None:
        """Start a killed or running server again on the same port and data; returns when it answers."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """The servers can be frozen, so that connections stay open and nothing answers."""

    def pause(self, service: Service) -> None:
        """Freeze every process of the server (SIGSTOP or its equivalent)."""
        ...

    def resume(self, service: Service) -> None:
        """Let a frozen server go on; returns when it answers."""
        ...
