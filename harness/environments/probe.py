"""Ask a running Postgres or Redis whether it answers and what it is: the same questions for every backend."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.environments.base import MINIMUM_POSTGRES, MINIMUM_REDIS, Service
from harness.errors import EnvironmentUnavailable
from harness.masking import masked

_POLL_INTERVAL = 0.02
_ONE_ANSWER = 2.0


class NotAnswering(Exception):
    """The server did not answer a query; the message says why, without secrets."""


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor of a version as servers write it: `7.0.15`, `18.6 (Debian 18.6-1)`, `19beta1`.

    Raises ValueError where there is no number.
    """
    found = re.search(r"(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise ValueError(f"no version number in {text!r}")
    return int(found[1]), int(found[2] or 0)


def require_supported(service: Service, name: str, compatible_with: str) -> None:
    """Raise `EnvironmentUnavailable` when the server is too old.

    `name` is what a person reads, for example `Valkey 9.1.2`; `compatible_with` is the version that counts.
    """
    minimum = MINIMUM_POSTGRES if service == "postgres" else MINIMUM_REDIS
    if parse_version(compatible_with) < minimum:
        wanted = f"PostgreSQL {minimum[0]}" if service == "postgres" else f"Redis {minimum[0]}.{minimum[1]}"
        raise EnvironmentUnavailable(
            f"{name} is too old: at least {wanted} is needed. Give a newer server, or use the embedded backend's own."
        )


def ask(service: Service, url: str, timeout: float = _ONE_ANSWER) -> str:
    """Run a real query and return the server's name and version, for example `PostgreSQL 18.6`.

    Raises `NotAnswering` when no answer came within about `timeout` seconds, and `EnvironmentUnavailable` when the
    server is too old.
    """
    return _ask_postgres(url, timeout) if service == "postgres" else _ask_redis(url, timeout)


def _ask_postgres(url: str, timeout: float) -> str:
    try:
        # libpq takes whole seconds and makes at least two of them; the statement's own limit is exact.
        with psycopg.connect(url, connect_timeout=max(2, int(timeout)), autocommit=True) as connection:
            connection.execute(f"SET statement_timeout = {int(timeout * 1000)}")
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.Error as error:
        raise NotAnswering(masked(_first_line(error))) from error
    version = str(row[0]).split()[0] if row else "of no version"
    name = f"PostgreSQL {version}"
    require_supported("postgres", name, version)
    return name


def _ask_redis(url: str, timeout: float) -> str:
    client = redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), protocol=2
    )
    try:
        client.ping()
        said = client.info("server")
    except redis.RedisError as error:
        raise NotAnswering(masked(_first_line(error))) from error
    finally:
        client.close()
    compatible_with = str(said.get("redis_version", "0"))
    # Valkey states the Redis version that it is compatible with, and its own beside it.
    name = f"Valkey {said['valkey_version']}" if "valkey_version" in said else f"Redis {compatible_with}"
    require_supported("redis", name, compatible_with)
    return name


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def wait_until_answers(service: Service, url: str, *, patience: float, check: Callable[[], None]) -> str:
    """Ask until the server answers, at most `patience` seconds; returns its name and version.

    `check` is called after every question and raises when the server cannot answer any more. Raises
    `EnvironmentUnavailable` when time runs out.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            name = ask(service, url)
        except NotAnswering as error:
            check()
            if time.monotonic() >= deadline:
                raise EnvironmentUnavailable(
                    f"The {service} server does not answer after {patience:.0f} s: {error}. "
                    "Look at its log, or give the machine more time by running less beside it."
                ) from error
            time.sleep(_POLL_INTERVAL)
        else:
            check()
            return name
