"""What the doctor looks at: settings, servers, URLs and folders. Servers are connected to at first use."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, Self, TypeVar

from agentexec.config import Settings, load_settings
from agentexec.errors import ConfigurationError
from agentexec.queue.keys import QueueKeys
from harness.doctor.postgres_reader import PostgresReader
from harness.doctor.redis_reader import RedisReader
from harness.doctor.unanswered import CannotTell, NoAnswer
from harness.environments.urls import plain_url

T = TypeVar("T")

BUDGET_SECONDS = 4.5  # of a whole run


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
    pools: int = 2
    api_servers: int = 2
    retention_days: int = 30
    load_report_days: int = 30
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


class _Once(Generic[T]):
    """A value that is made at first use; every later use gets the same value, or the same error."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._error: Exception | None = None

    def get(self) -> T:
        if self._error is not None:
            raise self._error
        if not self._made:
            try:
                self._made.append(self._make())
            except (CannotTell, NoAnswer) as error:
                self._error = error
                raise
        return self._made[0]

    def made(self) -> list[T]:
        return self._made


class Installation:
    """Everything that a check may read. A context manager: it closes the connections."""

    def __init__(self, options: DoctorOptions) -> None:
        self.options = options
        self.deadline = time.monotonic() + BUDGET_SECONDS
        self._postgres = _Once(self._connect_postgres)
        self._redis = _Once(self._connect_redis)

    @property
    def seconds_left(self) -> float:
        """What remains of the budget of this run."""
        return self.deadline - time.monotonic()

    @cached_property
    def settings_problem(self) -> str | None:
        """Why the settings cannot be used, None if they can."""
        try:
            self._load()
        except ConfigurationError as error:
            return str(error)
        return None

    @cached_property
    def settings(self) -> Settings:
        """The settings in effect; raises `CannotTell` if they are wrong."""
        if self.settings_problem is not None:
            raise CannotTell("a setting is wrong (settings.valid)")
        return self._load()

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

    def files(self) -> Path:
        """The folder of the deployment; raises `CannotTell` without one."""
        if self.options.deployment is None:
            raise CannotTell("no folder given; --deployment DIR names it")
        return self.options.deployment

    def _load(self) -> Settings:
        return load_settings(database_url=self.options.database_url, redis_url=self.options.redis_url)

    def _connect_postgres(self) -> PostgresReader:
        try:
            url = self.settings.require_database_url()
        except ConfigurationError as error:
            raise NoAnswer(str(error)) from None
        if url.startswith("sqlite"):
            raise CannotTell("DATABASE_URL names SQLite, which is for a first try; use PostgreSQL 14+")
        return PostgresReader(plain_url(url), within=max(0.1, self.seconds_left))

    def _connect_redis(self) -> RedisReader:
        try:
            return RedisReader(self.settings.require_redis_url())
        except ConfigurationError as error:
            raise NoAnswer(str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for postgres in self._postgres.made():
            postgres.close()
        for redis in self._redis.made():
            redis.close()


def is_local(host: str) -> bool:
    """Whether an address is a Unix socket or of the loopback network."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.startswith(("/", "@")) or host in ("", "localhost")
