"""The servers of a run: embedded (from wheels), in containers, or external ones that exist already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.environments.backend import ServersEnvironment
from harness.environments.base import Environment
from harness.environments.services import extra_services, other_urls
from harness.errors import UsageError

__all__ = ["BACKENDS", "make_environment"]

BACKENDS = ("embedded", "containers", "external")


def make_environment(
    backend: str,
    *,
    postgres_bin: Path | None = None,
    redis_server: Path | None = None,
    postgres_image: str | None = None,
    redis_image: str | None = None,
    database_url: str | None = None,
    redis_url: str | None = None,
    needs: Sequence[str] = (),
) -> Environment:
    """Make the environment of a backend without starting it.

    `postgres_bin` and `redis_server` are options of `embedded`, the images of `containers`, the URLs of `external`.
    `needs` names services that the environment must have. Those beyond Postgres and Redis run as local servers; for
    `external`, their URLs are in `HARNESS_<SERVICE>_URL`.
    Raises `UsageError` for an unknown backend or service, for an option of another backend, and for missing URLs.
    """
    options: dict[str, dict[str, object]] = {
        "embedded": {"postgres_bin": postgres_bin, "redis_server": redis_server},
        "containers": {"postgres_image": postgres_image, "redis_image": redis_image},
        "external": {"database_url": database_url, "redis_url": redis_url},
    }
    if backend not in options:
        raise UsageError(f"There is no backend {backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    for other, values in options.items():
        stray = [name for name, value in values.items() if value is not None]
        if other != backend and stray:
            raise UsageError(
                f"{stray[0]} belongs to the {other} backend, not to {backend}. "
                f"Leave it out, or choose the {other} backend."
            )
    if backend == "external":
        if database_url is None or redis_url is None:
            raise UsageError("The external backend needs both URLs. Give database_url and redis_url.")
        from harness.environments.external import ExternalEnvironment

        return ExternalEnvironment(database_url=database_url, redis_url=redis_url, others=other_urls(needs))
    environment: ServersEnvironment
    if backend == "embedded":
        from harness.environments.embedded import EmbeddedEnvironment

        environment = EmbeddedEnvironment(postgres_bin=postgres_bin, redis_server=redis_server)
    else:
        from harness.environments.containers import ContainersEnvironment

        environment = ContainersEnvironment(postgres_image=postgres_image, redis_image=redis_image)
    environment.extra_services = extra_services(needs)
    return environment
