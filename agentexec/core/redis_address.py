"""The address in REDIS_URL: one server, or a master behind Sentinels.

redis://:password@host:6379/0                          one server
rediss://:password@host:6379/0?ssl_ca_certs=/ca.pem    the same over TLS
redis+sentinel://:password@h1:26379,h2:26379/mymaster/0?sentinel_password=other
rediss+sentinel://...                                  the same, with TLS to the Sentinels and to the master

User and password before the `@` are those of the server; `sentinel_username` and `sentinel_password` are those of
the Sentinels. The other options are those of redis-py in `ALLOWED`; `ssl_*` options apply to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from redis.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

from agentexec.errors import ConfigurationError
from agentexec.masking import masked

SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
# Options of redis-py that a URL may have, in addition to those whose names begin with `ssl_`.
ALLOWED = (
    "client_name", "db", "health_check_interval", "host", "password", "path", "port", "protocol",
    "socket_keepalive", "socket_read_size", "username",
)  # fmt: skip
# Options that name files. redis-py opens them with every connection and then raises an error that is not a RedisError.
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
# Options that would replace a setting of agentexec or break it, and what to do instead.
_OWN_TIMEOUTS, _BYTES = "set REDIS_POOL_TIMEOUT instead", "leave it out: agentexec reads replies as bytes"
_RESENDS = "leave it out: agentexec decides what is sent again"
INSTEAD = {
    "max_connections": "set REDIS_POOL_SIZE instead",
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout", "timeout"), _OWN_TIMEOUTS),
    **dict.fromkeys(("decode_responses", "encoding", "encoding_errors", "legacy_responses"), _BYTES),
    **dict.fromkeys(("retry", "retry_on_error", "retry_on_timeout"), _RESENDS),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SentinelAddress:
    """A master by its name. `master` and `sentinel` are redis-py's options for connections to each."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    master: Mapping[str, Any]
    sentinel: Mapping[str, Any]


def parse_address(url: str) -> SentinelAddress | str:
    """Parse a URL; a URL without Sentinels is returned unchanged. Raises `ConfigurationError` if it is wrong."""
    scheme, _, rest = url.partition("://")
    try:
        if scheme in SENTINEL_SCHEMES:
            return _sentinel(SENTINEL_SCHEMES[scheme], rest)
        _check(_options(url))
        return url
    except ValueError as error:
        # The message of another ValueError may contain a part of the password.
        why = f" ({error})" if isinstance(error, _Flaw) else ""
        example = (
            "redis+sentinel://:password@host1:26379,host2:26379/mymaster/0"
            if scheme in SENTINEL_SCHEMES
            else "redis://:password@host:6379/0"
        )
        raise ConfigurationError(
            f"REDIS_URL {masked(url)} cannot be used{why}; it looks like {example}."
        ) from None


class _Flaw(ValueError):
    """What is wrong with a URL; the message contains no part of it except file names."""


def _sentinel(scheme: str, rest: str) -> SentinelAddress:
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    account, at, hosts = authority.rpartition("@")
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise _Flaw("it lacks the name of the master")
    if database and not database.isdecimal():
        raise _Flaw("the database after the master's name is not a number")
    options = _options(f"{scheme}://{account}{at}localhost/{database or 0}?{query}")
    tls = options.pop("connection_class", None) is not None
    del options["host"]
    account_of_sentinels = {
        name: value
        for name in ("username", "password")
        if (value := options.pop(f"sentinel_{name}", None)) is not None
    }
    _check(options | ({"connection_class": SSLConnection} if tls else {}))
    security = {"ssl": True, **{k: v for k, v in options.items() if k.startswith("ssl_")}} if tls else {}
    return SentinelAddress(
        sentinels=tuple(_host(host) for host in hosts.split(",")),
        service=unquote(service),
        master=options | security,
        sentinel=account_of_sentinels | security,
    )


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py does not annotate it
    return options


def _host(text: str) -> tuple[str, int]:
    name, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):  # no port; the colons may be those of an IPv6 address
        name, port = text, "26379"
    name = name.removeprefix("[").removesuffix("]")
    if not name:
        raise _Flaw("a Sentinel lacks its host")
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise _Flaw("the port of a Sentinel is not a number from 1 to 65535")
    return name, int(port)


def _check(options: Mapping[str, Any]) -> None:
    """Raise `_Flaw` for options that agentexec sets itself, that break it, or that redis-py does not know."""
    arguments = dict(options)
    connection_class = arguments.pop("connection_class", Connection)
    for name, value in arguments.items():
        if name in INSTEAD:
            raise _Flaw(f"its option {name} is not supported; {INSTEAD[name]}")
        if name not in ALLOWED and not name.startswith("ssl_"):
            known = name.isidentifier() and "@" not in str(value)  # else it may be a part of a password
            raise _Flaw(f"it has an unknown option{f' {name}' if known else ''}; leave it out")
        if name in FILES and not Path(value).exists():
            raise _Flaw(f"there is no {name} {value}")
    try:
        connection_class(**arguments)  # it does not connect yet
    except TypeError:  # for example ssl_ca_certs without TLS
        names = ", ".join(sorted(arguments))
        raise _Flaw(f"this kind of connection does not take all of its options: {names}") from None
    except RedisError as error:
        raise _Flaw(f"redis-py refuses an option: {masked(str(error))}") from None
