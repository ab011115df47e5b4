"""The external backend: existing servers, given by URL. The harness never starts, stops or freezes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from harness.environments import probe
from harness.environments.backend import SessionEnvironment
from harness.environments.base import Endpoints, ServerVersions, Service
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable, UsageError
from harness.masking import masked

_SCHEMES: dict[Service, tuple[str, ...]] = {
    "postgres": ("postgresql", "postgres"),
    "redis": ("redis", "rediss", "unix"),
}
_OPTIONS: dict[Service, str] = {"postgres": "database_url", "redis": "redis_url"}
_TIMEOUT_SECONDS = 5.0


class ExternalEnvironment(SessionEnvironment):
    """Uses given servers; `start` checks that Postgres and Redis answer and are new enough. `others` are not asked."""

    name: ClassVar[str] = "external"

    def __init__(
        self, *, database_url: str, redis_url: str, others: Mapping[Service, str] | None = None
    ) -> None:
        super().__init__()
        self._others = dict(others or {})
        self._urls: dict[Service, str] = {
            "postgres": _checked("postgres", database_url),
            "redis": _checked("redis", redis_url),
        }

    def bring_up(self, session: Session) -> tuple[Endpoints, ServerVersions]:
        """Query both servers once; raises `EnvironmentUnavailable` if one does not answer or is too old."""
        return (
            Endpoints(
                database_url=self._urls["postgres"], redis_url=self._urls["redis"], others=self._others
            ),
            ServerVersions(postgres=self._ask("postgres"), redis=self._ask("redis")),
        )

    def _ask(self, service: Service) -> str:
        url = self._urls[service]
        try:
            return probe.ask(service, plain_url(url), timeout=_TIMEOUT_SECONDS)
        except probe.NotAnswering as error:
            raise EnvironmentUnavailable(
                f"The {service} server at {masked(url)} does not answer: {error}. "
                f"Check the URL, the password, and that this machine reaches the server."
            ) from error


def plain_url(url: str) -> str:
    """The URL without SQLAlchemy's driver: `postgresql://...` for `postgresql+psycopg://...`."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.split('+')[0]}{separator}{rest}"


def _checked(service: Service, url: str) -> str:
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.split("+")[0]
        # `port` is parsed on access and raises ValueError if it is invalid.
        located = parts.port is not None or bool(parts.netloc or parts.path.strip("/") or parts.query)
    except ValueError:
        scheme, located = "", False
    if scheme not in _SCHEMES[service] or not located:
        raise UsageError(
            f"{_OPTIONS[service]} is no {service} URL: {masked(url)!r}. "
            f"Give one like {_SCHEMES[service][0]}://user:password@host:port/database."
        )
    return url
