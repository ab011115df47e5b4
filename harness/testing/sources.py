"""Where an invariant gets its data: SQL, Redis or HTTP. What comes back is JSON, with ids as text."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from harness.environments.base import Endpoints
from harness.environments.urls import plain_url
from harness.errors import UsageError

TIMEOUT_SECONDS = 30.0

Source = Callable[[Endpoints], Any]


def sql_source(query: str) -> Source:
    """The rows of a query in the database of the run, in a read-only transaction."""

    def read(endpoints: Endpoints) -> Any:
        import psycopg  # here, since not every environment with the harness has it

        timeout = f"-c statement_timeout={TIMEOUT_SECONDS * 1000:.0f}"
        with psycopg.connect(plain_url(endpoints.database_url), options=timeout) as connection:
            connection.read_only = True
            cursor = connection.execute(query.encode())
            if cursor.description is None:
                raise ValueError("the statement returns no rows. Write a SELECT")
            return _table(cursor.fetchall(), columns=len(cursor.description))

    return read


def redis_source(command: str | Sequence[Any] | Callable[[Any], Any]) -> Source:
    """The reply to a command (as text or as a list), or what a function of a client returns."""
    words = shlex.split(command) if isinstance(command, str) else command

    def read(endpoints: Endpoints) -> Any:
        import redis  # as above

        with closing(redis.Redis.from_url(endpoints.redis_url, socket_timeout=TIMEOUT_SECONDS)) as client:
            if callable(words):
                return words(client)
            run: Callable[..., Any] = client.execute_command
            return run(*words)

    return read


def http_source(url: str) -> Source:
    """The body of a page: its JSON value, or its text."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"http={url!r} is no URL of a page. Write http://host/path.")

    def read(_: Endpoints) -> Any:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http and https only
            text = answer.read().decode("utf-8", "replace")
        try:
            return json.loads(text)
        except ValueError:
            return text

    return read


def _table(rows: Sequence[Sequence[Any]], *, columns: int) -> Any:
    """Rows of one column as values, of two columns as a mapping, else as rows."""
    if columns == 1:
        return [row[0] for row in rows]
    return _pairs(rows) if columns == 2 else rows


def _pairs(rows: Sequence[Sequence[Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in rows:
        if key in found:
            raise ValueError(f"the source gives {key} twice. Write one row for each, as with GROUP BY")
        found[key] = value
    return found


def as_found(value: Any) -> dict[str, Any]:
    """What a source gave, as it is recorded: pairs of a mapping, or any other JSON value.

    A list of pairs is a mapping too. Raises `ValueError` if it names a key twice.
    """
    if (
        isinstance(value, list)
        and value
        and all(isinstance(one, list | tuple) and len(one) == 2 for one in value)
    ):
        value = _pairs([(_plain(key), one) for key, one in value])
    if not isinstance(value, Mapping):
        return {"value": _plain(value)}
    pairs = _pairs([(_plain(key), _plain(one)) for key, one in value.items()])
    return {"mapping": [[key, one] for key, one in pairs.items()]}


def _plain(value: Any) -> Any:
    """The JSON form of a value: ids and times as text, whole numbers as such, also where Redis gives text."""
    match value:
        case bytes():
            text = value.decode("utf-8", "replace")
            return int(text) if text.removeprefix("-").isdecimal() else _plain(text)
        case str():
            return _id(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case Mapping():
            return {str(_plain(key)): _plain(one) for key, one in value.items()}
        case Set():
            return sorted((_plain(one) for one in value), key=str)
        case list() | tuple():
            return [_plain(one) for one in value]
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case None | bool() | int() | float():
            return value
        case _:
            return str(value)


def _id(text: str) -> str:
    """A UUID in its usual form, any other text as it is."""
    if len(text) not in (32, 36):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return text
