"""What the doctor looks at: settings, servers, URLs and folders. Servers are connected to at first use."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, Self, TypeVar

from agentexec.config import Settings, load_settings
from agentexec.errors import ConfigurationError
from agentexec.queue.keys import QueueKeys
from harness.doctor.area import Area
from harness.doctor.begun_call import begun
from harness.doctor.manifests import ENDINGS, DeployedManifests, read_manifests
from harness.doctor.postgres_reader import PostgresReader, conninfo
from harness.doctor.redis_reader import RedisReader
from harness.doctor.unanswered import CannotTell, NoAnswer

POSTGRES_AREAS = frozenset({Area.POSTGRES, Area.TABLES, Area.TASKS})
REDIS_AREAS = frozenset({Area.REDIS, Area.TASKS})

T = TypeVar("T", PostgresReader, RedisReader)

BUDGET_SECONDS = 4.5  # of a whole run
# Of a connection, with all hosts and Sentinels of a URL, and the resolution of their names.
CONNECTED_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorOptions:
    """What a user gives; None leaves the checks that need it out, and URLs of servers to the environment."""

    database_url: str | None = None
    redis_url: str | None = None
    api_url: str | None = None
    metrics_url: str | None = None
    deployment: Path | None = None
    backups: Path | None = None
    load_report: Path | None = None
    log: Path | None = None
    restore_check: Path | None = None
    scratch_url: str | None = None
    rate_limit_check: bool = False
    pools: int = 2
    api_servers: int = 2
    retention_days: int = 30
    load_report_days: int = 30
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


class ServerConnection(Generic[T]):
    """A connection that is made at first use, in time; every later use gets the same one, or the same error."""

    def __init__(self, server: str, connect: Callable[[], T]) -> None:
        self._server = server
        self._connect: Callable[[], T] = connect
        self._made: Future[T] | None = None
        self._until = 0.0

    def begin(self) -> Future[T]:
        """Connect, and wait for nothing."""
        if self._made is None:
            self._until = time.monotonic() + CONNECTED_SECONDS
            self._made = begun(self._connect)
        return self._made

    def get(self) -> T:
        """The connection; raises `NoAnswer`, and `CannotTell` if there is none to make."""
        made = self.begin()
        try:
            return made.result(timeout=max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise NoAnswer(self._server, f"no connection within {CONNECTED_SECONDS:g} s") from None

    def close(self) -> None:
        """Close the connection, also one that is made only later."""
        if self._made is not None:
            self._made.add_done_callback(_closed)


def _closed(made: Future[T]) -> None:
    if made.exception() is None:
        made.result().close()


class Installation:
    """Everything that a check may read. A context manager: it closes the connections."""

    def __init__(self, options: DoctorOptions) -> None:
        self.options = options
        self.deadline = time.monotonic() + BUDGET_SECONDS
        self._postgres = ServerConnection("postgres", self._connect_postgres)
        self._redis = ServerConnection("redis", self._connect_redis)

    @property
    def seconds_left(self) -> float:
        """What remains of the budget of this run."""
        return self.deadline - time.monotonic()

    @cached_property
    def settings_problem(self) -> str | None:
        """Why the settings cannot be used, None if they can."""
        try:
            self._settings.result(timeout=CONNECTED_SECONDS)
        except ConfigurationError as error:
            return str(error)
        except TimeoutError:
            return f"The settings were not read within {CONNECTED_SECONDS:g} s. See AGENTEXEC_AWS_SECRET and .env."
        return None

    @cached_property
    def settings(self) -> Settings:
        """The settings in effect; raises `CannotTell` if they are wrong."""
        if self.settings_problem is not None:
            raise CannotTell("a setting is wrong (settings.valid)")
        return self._settings.result()

    def begin(self, areas: Set[Area]) -> None:
        """Connect to the servers that checks of these areas ask, and wait for none."""
        if areas & POSTGRES_AREAS:
            self._postgres.begin()
        if areas & REDIS_AREAS:
            self._redis.begin()

    @property
    def keys(self) -> QueueKeys:
        """The names of the queue's keys."""
        return QueueKeys.of(self.settings.queue_name)

    @property
    def postgres(self) -> PostgresReader:
        """The database; raises `NoAnswer`."""
        return self._postgres.get()

    @property
    def redis(self) -> RedisReader:
        """The queue's server; raises `NoAnswer`."""
        return self._redis.get()

    @cached_property
    def manifests(self) -> DeployedManifests:
        """The files of the deployment; raises `CannotTell` if there are none."""
        place = self.options.deployment
        if place is None:
            raise CannotTell("no folder given; --deployment DIR names it")
        if not (found := read_manifests(place)).documents:
            raise CannotTell(f"{place} has no file that ends in {', '.join(ENDINGS)}")
        return found

    @cached_property
    def _settings(self) -> Future[Settings]:
        urls = {"database_url": self.options.database_url, "redis_url": self.options.redis_url}
        return begun(partial(load_settings, **urls))

    def _connect_postgres(self) -> PostgresReader:
        try:
            url = self.settings.require_database_url()
        except ConfigurationError as error:
            raise NoAnswer("postgres", str(error)) from None
        if url.startswith("sqlite"):
            raise CannotTell("DATABASE_URL names SQLite, which is for a first try; use PostgreSQL 14+")
        return PostgresReader(conninfo(url), within=max(0.1, self.seconds_left))

    def _connect_redis(self) -> RedisReader:
        # Here, beside the connection to Postgres: redis-py takes a tenth of a second.
        from agentexec.core.redis_address import parse_address

        try:
            url = self.settings.require_redis_url()
            parse_address(url)  # as agentexec does, which refuses more than the doctor's own connection
            return RedisReader(url)
        except ConfigurationError as error:
            raise NoAnswer("redis", str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._postgres.close()
        self._redis.close()


def is_local(host: str) -> bool:
    """Whether an address is a Unix socket or of the loopback network."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.startswith(("/", "@")) or host in ("", "localhost")
