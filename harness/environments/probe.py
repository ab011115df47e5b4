"""Queries a running Postgres or Redis for its version; every backend uses it to see whether a server answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import psycopg

from harness.environments.base import MINIMUM_POSTGRES, MINIMUM_REDIS, Service
from harness.environments.redis_connection import RedisConnection, RedisFailure
from harness.errors import EnvironmentUnavailable, first_line

_POLL_SECONDS = 0.02
_ANSWER_SECONDS = 2.0


class NotAnswering(Exception):
    """The server did not answer a query; the message gives the reason without secrets."""


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor version from the text of a server: `7.0.15`, `18.6 (Debian 18.6-1)`, `19beta1`.

    Raises ValueError if there is no number.
    """
    found = re.search(r"(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise ValueError(f"no version number in {text!r}")
    return int(found[1]), int(found[2] or 0)


def require_supported(service: Service, name: str, compatible_with: str) -> None:
    """Raise `EnvironmentUnavailable` if the server is too old.

    `name` is for the message, for example `Valkey 9.1.2`; `compatible_with` is the version that is compared.
    """
    minimum = MINIMUM_POSTGRES if service == "postgres" else MINIMUM_REDIS
    if parse_version(compatible_with) < minimum:
        wanted = f"PostgreSQL {minimum[0]}" if service == "postgres" else f"Redis {minimum[0]}.{minimum[1]}"
        raise EnvironmentUnavailable(
            f"{name} is too old: at least {wanted} is needed. Give a newer server, or use the embedded backend's own."
        )


def ask(service: Service, url: str, timeout: float = _ANSWER_SECONDS) -> str:
    """Run a query and return the name and version of the server, for example `PostgreSQL 18.6`.

    Raises `NotAnswering` without an answer within about `timeout` seconds, and `EnvironmentUnavailable` for a server
    that is too old.
    """
    return _ask_postgres(url, timeout) if service == "postgres" else _ask_redis(url, timeout)


def _ask_postgres(url: str, timeout: float) -> str:
    try:
        # libpq uses whole seconds and at least two; the limit of the statement is exact.
        with psycopg.connect(url, connect_timeout=max(2, int(timeout)), autocommit=True) as connection:
            connection.execute(f"SET statement_timeout = {int(timeout * 1000)}")
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.Error as error:
        raise NotAnswering(first_line(error)) from error
    version = str(row[0]).split()[0] if row else "of no version"
    name = f"PostgreSQL {version}"
    require_supported("postgres", name, version)
    return name


def _ask_redis(url: str, timeout: float) -> str:
    try:
        with RedisConnection(url, timeout=timeout) as connection:
            connection.call("PING")
            info = connection.info("server")
    except RedisFailure as error:
        raise NotAnswering(first_line(error)) from error
    compatible_with = info.get("redis_version", "0")
    # Valkey reports its own version and the Redis version that it is compatible with.
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {compatible_with}"
    require_supported("redis", name, compatible_with)
    return name


def wait_until_answers(
    service: Service,
    url: str,
    *,
    patience: float,
    check: Callable[[], None],
    query: Callable[[Service, str], str] = ask,
) -> str:
    """Query until the server answers, at most `patience` seconds; returns its name and version.

    `query` asks once, as `ask` does. `check` is called after every query and raises if the server has ended. Raises
    `EnvironmentUnavailable` if the server does not answer in time.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            name = query(service, url)
        except NotAnswering as error:
            check()
            if time.monotonic() >= deadline:
                raise EnvironmentUnavailable(
                    f"The {service} server does not answer after {patience:.0f} s: {error}. "
                    "See its log, or run fewer other programs on this machine."
                ) from error
            time.sleep(_POLL_SECONDS)
        else:
            check()
            return name
