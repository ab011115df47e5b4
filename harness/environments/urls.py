"""URLs of servers that a user gives: checked before any library parses them, and never quoted in a message.

Libraries disagree about a URL with an unquoted special character: for some of them a part of the password is the host,
the port or the database, and their error messages print it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from harness.environments.base import Service
from harness.errors import UsageError
from harness.masking import masked

_SCHEMES: Mapping[str, tuple[str, ...]] = {
    "postgres": ("postgresql", "postgres"),
    "redis": ("redis", "rediss", "unix"),
}
_END_OF_PLACE = re.compile(r"[/?#]")
_WRONG_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_QUERY = re.compile(r"\w+=[^&]*(?:&\w+=[^&]*)*")


def checked_url(service: Service, url: str, *, option: str) -> str:
    """The URL itself; raises `UsageError` that names the option and what is wrong, without any part of the URL."""
    wrong = _wrong_with(service, url)
    if wrong is not None:
        raise UsageError(
            f"{option} is no {service} URL: {wrong}. Give one like "
            f"{_SCHEMES[service][0]}://user:password@host:port/database, and write special characters of the "
            "password as in %40 for @, %2F for /, %25 for %, %20 for a space."
        )
    return url


def database_name(url: str) -> str:
    """The database of a checked URL of Postgres."""
    return unquote(urlsplit(url).path.lstrip("/"))


def has_password(url: str) -> bool:
    """Whether the text is a URL with a password, or may be one."""
    return "://" in url and (masked(url) != url or "@" in url)


def plain_url(url: str) -> str:
    """The URL without SQLAlchemy's driver: `postgresql://...` for `postgresql+psycopg://...`.

    `redis+sentinel://...` names no driver and stays.
    """
    scheme, separator, rest = url.partition("://")
    if scheme.endswith("+sentinel"):
        return url
    return f"{scheme.split('+')[0]}{separator}{rest}"


def with_database(url: str, number: int) -> str:
    """The URL of a Redis with the number of another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def _wrong_with(service: Service, url: str) -> str | None:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0].lower() not in _SCHEMES[service]:
        return f"it does not begin with {_SCHEMES[service][0]}://"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "it contains a space or a control character"
    if _WRONG_PERCENT.search(rest):
        return "it contains a % that two hexadecimal digits do not follow, or %00"
    place = _END_OF_PLACE.split(rest, maxsplit=1)[0]
    if "@" in place.rpartition("@")[0] or _at_sign_after(rest[len(place) :]):
        return "it contains more than one @, or a / or ? or # before its @"
    return _unparsed(url)


def _at_sign_after(path: str) -> bool:
    """Whether an @ follows the host of a URL elsewhere than in a value of its query."""
    before, _, query = path.partition("?")
    return "@" in before or ("@" in query and (not _QUERY.fullmatch(query) or "#" in query))


def _unparsed(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        # `port` is parsed on access and raises ValueError if it is invalid.
        located = parts.port is not None or bool(parts.netloc or parts.path.strip("/") or parts.query)
    except ValueError:
        return "its host or port cannot be read"
    return None if located else "it names no host"
