"""Settings, read from the environment (and a `.env` file) under the names of the production guide.

Every duration is in seconds, every size in bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from agentexec.errors import ConfigurationError
from agentexec.masking import masked

__all__ = ["Settings", "default_settings", "load_settings", "masked", "normalised_database_url"]

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}|")
_QUEUE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def _aliases(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """The effective settings of this process. Build one with keyword arguments to override the environment."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    database_url: str | None = Field(
        default=None, repr=False, validation_alias=_aliases("AGENTEXEC_DATABASE_URL", "DATABASE_URL")
    )
    redis_url: str | None = Field(
        default=None, repr=False, validation_alias=_aliases("AGENTEXEC_REDIS_URL", "REDIS_URL")
    )
    redis_pool_size: int = Field(
        default=10, ge=1, validation_alias=_aliases("AGENTEXEC_REDIS_POOL_SIZE", "REDIS_POOL_SIZE")
    )
    redis_pool_timeout: float = Field(
        default=5, gt=0, validation_alias=_aliases("AGENTEXEC_REDIS_POOL_TIMEOUT", "REDIS_POOL_TIMEOUT")
    )
    table_prefix: str = Field(default="agentexec_", validation_alias="AGENTEXEC_TABLE_PREFIX")
    queue_name: str = Field(
        default="agentexec_tasks", validation_alias=_aliases("AGENTEXEC_QUEUE_NAME", "AGENTEXEC_QUEUE_PREFIX")
    )
    num_workers: int = Field(default=4, ge=1, le=1024, validation_alias="AGENTEXEC_NUM_WORKERS")
    worker_concurrency: int = Field(default=8, ge=1, le=4096, validation_alias="AGENTEXEC_WORKER_CONCURRENCY")
    graceful_shutdown_timeout: float = Field(
        default=300, ge=0, validation_alias="AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT"
    )
    lease_seconds: float = Field(default=30, ge=1, validation_alias="AGENTEXEC_LEASE_SECONDS")
    max_task_retries: int = Field(default=3, ge=0, validation_alias="AGENTEXEC_MAX_TASK_RETRIES")
    retry_base_seconds: float = Field(default=1, gt=0, validation_alias="AGENTEXEC_RETRY_BASE_SECONDS")
    retry_cap_seconds: float = Field(default=300, gt=0, validation_alias="AGENTEXEC_RETRY_CAP_SECONDS")
    task_soft_time_limit: float = Field(default=0, ge=0, validation_alias="AGENTEXEC_TASK_SOFT_TIME_LIMIT")
    task_time_limit: float = Field(default=0, ge=0, validation_alias="AGENTEXEC_TASK_TIME_LIMIT")
    max_tasks_per_worker: int = Field(default=0, ge=0, validation_alias="AGENTEXEC_MAX_TASKS_PER_WORKER")
    max_worker_memory: int = Field(default=0, ge=0, validation_alias="AGENTEXEC_MAX_WORKER_MEMORY")
    max_crashes: int = Field(default=5, ge=0, validation_alias="AGENTEXEC_MAX_CRASHES")
    max_queue_depth: int = Field(default=0, ge=0, validation_alias="AGENTEXEC_MAX_QUEUE_DEPTH")
    max_payload_bytes: int = Field(default=1_048_576, ge=1, validation_alias="AGENTEXEC_MAX_PAYLOAD_BYTES")
    result_ttl: int = Field(default=3600, ge=1, validation_alias="AGENTEXEC_RESULT_TTL")
    reconcile_seconds: float = Field(default=30, gt=0, validation_alias="AGENTEXEC_RECONCILE_SECONDS")
    metrics_port: int = Field(default=0, ge=0, le=65_535, validation_alias="AGENTEXEC_METRICS_PORT")
    metrics_host: str = Field(default="127.0.0.1", min_length=1, validation_alias="AGENTEXEC_METRICS_HOST")
    log_format: Literal["json", "text"] | None = Field(default=None, validation_alias="AGENTEXEC_LOG_FORMAT")
    api_rate_limit: str = Field(default="100/minute", validation_alias="AGENTEXEC_API_RATE_LIMIT")
    api_keys: SecretStr | None = Field(default=None, validation_alias="AGENTEXEC_API_KEYS")
    activity_message_create: str = Field(
        default="Waiting to start.", validation_alias="AGENTEXEC_ACTIVITY_MESSAGE_CREATE"
    )
    activity_message_started: str = Field(
        default="Task started.", validation_alias="AGENTEXEC_ACTIVITY_MESSAGE_STARTED"
    )
    activity_message_complete: str = Field(
        default="Task completed successfully.", validation_alias="AGENTEXEC_ACTIVITY_MESSAGE_COMPLETE"
    )
    activity_message_error: str = Field(
        default="Task failed with error: {error}", validation_alias="AGENTEXEC_ACTIVITY_MESSAGE_ERROR"
    )

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
        """The database URL with the driver agentexec uses; raises `ConfigurationError` where none is set."""
        if not self.database_url:
            raise ConfigurationError(
                "No database is configured: set DATABASE_URL, or pass database_url to Pool or Client."
            )
        return normalised_database_url(self.database_url)

    def require_redis_url(self) -> str:
        """The Redis URL; raises `ConfigurationError` where none is set."""
        if not self.redis_url:
            raise ConfigurationError(
                "No Redis is configured: set REDIS_URL, or pass redis_url to Pool or Client."
            )
        return self.redis_url


def load_settings(**overrides: object) -> Settings:
    """Read the settings; keyword arguments that are not None win over the environment.

    Raises `ConfigurationError` that names every bad setting.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic validates what the caller passes
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))} {e['msg']}" for e in error.errors(include_input=False)
        )
        raise ConfigurationError(
            f"A setting is wrong: {problems}. Correct it in the environment or the .env file."
        ) from None


def normalised_database_url(url: str) -> str:
    """The same database through the drivers used here: psycopg 3 for Postgres, the standard library for
    SQLite.

    Accepts `postgres://`, `postgresql://`, and URLs that name an async driver, as they are found in `.env`
    files. Raises `ConfigurationError` for anything else.
    """
    if url.startswith("postgres://"):
        url = "postgresql://" + url.removeprefix("postgres://")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        raise ConfigurationError(
            "DATABASE_URL is not a URL; it looks like postgresql://user:password@host:5432/name."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif backend == "sqlite":
        parsed = parsed.set(drivername="sqlite")
    else:
        raise ConfigurationError(
            f"DATABASE_URL asks for {backend}; agentexec keeps its record in PostgreSQL 14+ or SQLite."
        )
    return parsed.render_as_string(hide_password=False)


@lru_cache(maxsize=1)
def default_settings() -> Settings:
    """The settings of the environment, read once for the process."""
    return load_settings()
