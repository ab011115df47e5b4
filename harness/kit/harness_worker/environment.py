"""The settings of the run, from the environment variables `HARNESS_*`. Each is read when it is used."""

from __future__ import annotations

import os

# The services whose variable does not follow from their name.
_VARIABLES = {"postgres": "HARNESS_DATABASE_URL"}


class SettingMissing(Exception):
    """An environment variable that this process needs is not set, or is no number."""


class RunSettings:
    """The settings of the run. Each property raises `SettingMissing` if its variable is not set."""

    @property
    def history(self) -> str:
        """The folder that the workers record into (`HARNESS_HISTORY`)."""
        return _text("HARNESS_HISTORY")

    @property
    def gate(self) -> str:
        """The path of the Unix socket of the gates (`HARNESS_GATE`)."""
        return _text("HARNESS_GATE")

    @property
    def queue(self) -> str:
        """The name of the run's own queue (`HARNESS_QUEUE`)."""
        return _text("HARNESS_QUEUE")

    @property
    def workers(self) -> int:
        """How many worker processes a pool has (`HARNESS_WORKERS`)."""
        return int(_number("HARNESS_WORKERS"))

    @property
    def concurrency(self) -> int:
        """How many tasks one worker process runs at a time (`HARNESS_CONCURRENCY`)."""
        return int(_number("HARNESS_CONCURRENCY"))

    @property
    def lease(self) -> float:
        """Seconds that a worker may be silent before others take its tasks (`HARNESS_LEASE`)."""
        return _number("HARNESS_LEASE")

    @property
    def graceful(self) -> float:
        """Seconds between SIGTERM and the end of the pool (`HARNESS_GRACEFUL`)."""
        return _number("HARNESS_GRACEFUL")

    @property
    def profile(self) -> str:
        """The profile of the adapter (`HARNESS_PROFILE`); empty if none was chosen."""
        return os.environ.get("HARNESS_PROFILE", "")

    @property
    def redis_url(self) -> str:
        """The URL of Redis (`HARNESS_REDIS_URL`)."""
        return self.url("redis")

    @property
    def database_url(self) -> str:
        """The URL of Postgres (`HARNESS_DATABASE_URL`)."""
        return self.url("postgres")

    @property
    def rabbitmq_url(self) -> str:
        """The URL of RabbitMQ (`HARNESS_RABBITMQ_URL`)."""
        return self.url("rabbitmq")

    def url(self, service: str) -> str:
        """The URL of a service that `needs` of adapter.toml names; raises `SettingMissing` for any other."""
        name = service_variable(service)
        if not os.environ.get(name):
            raise SettingMissing(f"{name} is not set. Add {service!r} to `needs` in adapter.toml.")
        return os.environ[name]


SETTINGS = RunSettings()


def service_variable(service: str) -> str:
    """The environment variable with the URL of a service."""
    return _VARIABLES.get(service, f"HARNESS_{service.upper().replace('-', '_')}_URL")


def _text(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingMissing(
            f"{name} is not set. The harness sets it for the pool and the client of an adapter; start them with it."
        )
    return value


def _number(name: str) -> float:
    value = _text(name)
    try:
        return float(value)
    except ValueError:
        raise SettingMissing(f"{name} is {value!r}, which is no number. Set it to a number.") from None
