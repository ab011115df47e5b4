"""The version, and settings under the names of the production guide.

They come from arguments, the environment, a `.env` file, and a secret of AWS Secrets Manager, in this order.

Every duration is in seconds, every size in bytes.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as _Source
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from agentexec.database_options import libpq_options
from agentexec.errors import ConfigurationError, checked_number
from agentexec.text import first_line

VERSION = "0+unknown"  # of a source tree that is not installed
# A checkout is installed as the harness. Both distributions have the same version.
for _distribution in ("agentexec-harness", "agentexec-reference"):
    with suppress(PackageNotFoundError):
        VERSION = version(_distribution)

DEFAULT_PREFIX = "agentexec_"
# Bytes of JSON; Postgres takes twice as much in one value, Redis four times as much.
LARGEST_VALUE = 134_217_728

# Settings with a second variable, which counts if the first one, `AGENTEXEC_...`, is not set.
_SECOND_VARIABLES = {
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
    "redis_pool_size": "REDIS_POOL_SIZE",
    "redis_pool_timeout": "REDIS_POOL_TIMEOUT",
    "queue_name": "AGENTEXEC_QUEUE_PREFIX",
}
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "sqlite": "sqlite"}
# Seconds, a century. A longer duration is a mistake or infinite, and too long for the system's own waits.
LONGEST_DURATION = 3.2e9
# Seconds; sockets and servers count milliseconds in 31 bits.
LONGEST_SERVER_TIMEOUT = 2_000_000

Seconds = Annotated[float, Field(le=LONGEST_DURATION, allow_inf_nan=False)]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}|")
_QUEUE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"AGENTEXEC_{name.upper()}"


def _variables(name: str) -> str | AliasChoices:
    second = _SECOND_VARIABLES.get(name)
    return variable(name) if second is None else AliasChoices(variable(name), second)


def checked_seconds(value: Any, what: str) -> float:
    """The duration of an argument; raises ValueError if it is longer than `LONGEST_DURATION`, or NaN.

    Raises `WrongArgument` for something else than a number.
    """
    seconds = checked_number(value, f"{what} is a number", "give seconds")
    if not seconds <= LONGEST_DURATION:
        raise ValueError(f"{what} is {value}; give seconds, at most {LONGEST_DURATION:g}.")
    return seconds


@cache
def _aws_secret(name: str) -> dict[str, Any]:
    """The JSON object in a secret of AWS Secrets Manager, with keys in lower case; one request in each process.

    Raises `ConfigurationError` without any part of the secret.
    """
    what = f"The AWS secret {name!r} (AGENTEXEC_AWS_SECRET)"
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise ConfigurationError(f"{what} needs boto3; `pip install agentexec-reference[aws]`.") from None
    logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it logs each answer
    bounds = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 3})
    try:
        answer = boto3.client("secretsmanager", config=bounds).get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        remedy = "correct the name, AWS_REGION, or the credentials and rights of this process"
        raise ConfigurationError(f"{what} cannot be read ({first_line(error)}); {remedy}.") from None
    try:
        values = {key.lower(): value for key, value in json.loads(answer["SecretString"]).items()}
    except (AttributeError, KeyError, ValueError, RecursionError):
        example = '{"DATABASE_URL": "...", "REDIS_URL": "..."}'
        raise ConfigurationError(f"{what} is no JSON object; write it as {example}.") from None
    if "agentexec_table_prefix" in values:
        raise ConfigurationError(f"{what} has AGENTEXEC_TABLE_PREFIX; it only counts in the environment.")
    return values


class _AwsSecret(EnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        name = self.current_state.get(variable("aws_secret"))
        self.env_vars = _aws_secret(name) if name else {}
        return super().__call__()


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        alias_generator=AliasGenerator(validation_alias=_variables),
    )


class Settings(_Environment):
    """The effective settings of this process. Keyword arguments win over the environment."""

    # Servers
    aws_secret: str | None = None
    database_url: str | None = Field(default=None, repr=False)
    database_timeout: float = Field(default=10, gt=0, le=LONGEST_SERVER_TIMEOUT, allow_inf_nan=False)
    redis_url: str | None = Field(default=None, repr=False)
    redis_pool_size: int = Field(default=10, ge=1)
    redis_pool_timeout: float = Field(default=5, gt=0, le=LONGEST_SERVER_TIMEOUT, allow_inf_nan=False)
    table_prefix: str = DEFAULT_PREFIX
    queue_name: str = "agentexec_tasks"
    # Workers
    num_workers: int = Field(default=4, ge=1, le=1024)
    worker_concurrency: int = Field(default=8, ge=1, le=4096)
    graceful_shutdown_timeout: Seconds = Field(default=300, ge=0)
    lease_seconds: Seconds = Field(default=30, ge=1)
    # Tasks; a limit of 0 means no limit
    max_task_retries: int = Field(default=3, ge=0)
    retry_base_seconds: Seconds = Field(default=1, gt=0)
    retry_cap_seconds: Seconds = Field(default=300, gt=0)
    task_soft_time_limit: Seconds = Field(default=0, ge=0)
    task_time_limit: Seconds = Field(default=0, ge=0)
    max_tasks_per_worker: int = Field(default=0, ge=0)
    max_worker_memory: int = Field(default=0, ge=0)
    max_crashes: int = Field(default=5, ge=0)
    unknown_task_seconds: Seconds = Field(default=600, ge=0)
    max_queue_depth: int = Field(default=0, ge=0)
    max_payload_bytes: int = Field(default=1_048_576, ge=1, le=LARGEST_VALUE)
    max_result_bytes: int = Field(default=16_777_216, ge=1, le=LARGEST_VALUE)
    result_ttl: int = Field(default=3600, ge=1, le=LONGEST_DURATION)
    reconcile_seconds: Seconds = Field(default=30, gt=0)
    # Operations
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    log_format: Literal["json", "text"] | None = None
    log_level: LogLevel | None = None
    api_rate_limit: str = "100/minute"
    api_keys: SecretStr | None = None
    # Messages of log entries
    activity_message_create: str = "Waiting to start."
    activity_message_started: str = "Task started."
    activity_message_complete: str = "Task completed successfully."
    activity_message_error: str = "Task failed with error: {error}"

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *given: _Source, **named: _Source
    ) -> tuple[_Source, ...]:
        """The usual ones in their order, and then the secret: the first one that has a setting wins."""
        return *super().settings_customise_sources(settings_cls, *given, **named), _AwsSecret(settings_cls)

    @field_validator("activity_message_error")
    @classmethod
    def _message_can_be_filled_in(cls, value: str) -> str:
        try:
            value.format(error="")
        except (AttributeError, LookupError, ValueError):
            raise ValueError("may contain {error} and no other braces") from None
        return value

    @field_validator("table_prefix")
    @classmethod
    def _prefix_is_an_identifier(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError("must be letters, digits and underscores, at most 31, not starting with a digit")
        return value

    @field_validator("queue_name")
    @classmethod
    def _queue_is_a_key(cls, value: str) -> str:
        if not _QUEUE.fullmatch(value):
            raise ValueError("must be letters, digits and any of _ . : -, at most 128")
        return value

    def require_database_url(self) -> str:
        """The database URL with the driver that agentexec uses; raises `ConfigurationError` if none is set."""
        if not self.database_url:
            raise ConfigurationError(
                "No database is configured: set DATABASE_URL, or pass database_url to Pool or Client."
            )
        return normalised_database_url(self.database_url)

    def require_redis_url(self) -> str:
        """The Redis URL; raises `ConfigurationError` if none is set."""
        if not self.redis_url:
            raise ConfigurationError(
                "No Redis is configured: set REDIS_URL, or pass redis_url to Pool or Client."
            )
        return self.redis_url


_pinned: dict[str, object] = {}
_renamed_queues: dict[str, str] = {}


def pin_settings(settings: Mapping[str, object], *, queue_names: Mapping[str, str] | None = None) -> None:
    """Let settings win over every argument of this process, to run an application on other servers than its own.

    Call it before the application is imported. A `queue_name` that is given as a key of `queue_names` is replaced with
    its value.
    """
    _pinned.update(settings)
    _renamed_queues.update(queue_names or {})


def load_settings(**overrides: object) -> Settings:
    """Read the settings; keyword arguments that are not None win over the environment, and pinned settings over both.

    Raises `ConfigurationError` with the names of all settings that are wrong, or for an unreadable `.env` file.
    """
    given = {name: value for name, value in overrides.items() if value is not None} | _pinned
    if isinstance(queue := given.get("queue_name"), str):
        given["queue_name"] = _renamed_queues.get(queue, queue)
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic validates what the caller passes
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"The .env file cannot be read ({type(error).__name__}); save it in UTF-8, readable for this user."
        ) from None
    except ValidationError as error:
        problems = "; ".join(f"{one['loc'][0]} {one['msg']}" for one in error.errors(include_input=False))
        raise ConfigurationError(
            f"A setting is wrong: {problems}. Correct it in the environment, the .env file or the AWS secret."
        ) from None


def normalised_database_url(url: str) -> str:
    """The URL with the driver that agentexec uses: psycopg 3 for Postgres, the standard library for SQLite.

    Accepts `postgres://`, `postgresql://`, and URLs with another driver, also an async one, with its options.
    Raises `ConfigurationError` for anything else.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        raise ConfigurationError(
            "DATABASE_URL is not a URL; it looks like postgresql://user:password@host:5432/name, or /name?host=a,b."
        ) from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise ConfigurationError(
            f"DATABASE_URL names {backend}, which agentexec does not support; use PostgreSQL 14+ or SQLite."
        )
    if backend != "sqlite" and parsed.query:
        parsed = parsed.set(query=libpq_options(parsed.query))
    return parsed.set(drivername=_DRIVERS[backend]).render_as_string(hide_password=False)


class _TablePrefix(_Environment):
    table_prefix: str = DEFAULT_PREFIX


def table_prefix() -> str:
    """The table prefix for the models, which are created at import time.

    An invalid prefix gives the default, so that no import fails because of a setting. `load_settings`, which
    precedes every use of the tables, refuses the prefix with a message.
    """
    with suppress(OSError, UnicodeError):  # the .env file cannot be read
        prefix = _TablePrefix().table_prefix
        if _PREFIX.fullmatch(prefix):
            return prefix
    return DEFAULT_PREFIX


@cache
def default_settings() -> Settings:
    """The settings of the environment, read once per process."""
    return load_settings()
