"""The external backend: existing servers, given by URL. The harness never starts, stops or freezes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.environments import probe
from harness.environments.backend import SessionEnvironment
from harness.environments.base import Endpoints, ServerVersions, Service
from harness.environments.session import Session
from harness.environments.urls import checked_url, plain_url
from harness.errors import EnvironmentUnavailable
from harness.masking import masked

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
            "postgres": checked_url("postgres", database_url, option="database_url"),
            "redis": checked_url("redis", redis_url, option="redis_url"),
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
