"""Servers by the names of their services, and further services from the entry points `harness.services`.

An entry point refers to a function that makes a `Server` for a session, for example a subclass of `LocalServer`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from harness.environments.base import SERVICES, Service
from harness.environments.session import Session
from harness.errors import UsageError
from harness.kit.harness_worker.environment import service_variable

GROUP = "harness.services"


class Server(Protocol):
    """A server that the harness runs: `begin` launches it without waiting, `finish` waits until it answers."""

    @property
    def url(self) -> str:
        """Its URL with credentials."""
        ...

    @property
    def version(self) -> str:
        """Its name and version, known once it has answered."""
        ...

    def begin(self) -> None:
        """Launch the server."""
        ...

    def finish(self) -> None:
        """Wait until the server answers."""
        ...

    def kill(self) -> None:
        """SIGKILL the server; returns once it is gone."""
        ...

    def shut_down(self) -> None:
        """Stop the server in order; returns once it is gone."""
        ...

    def restart(self) -> None:
        """Start the server again on the same port and data; returns once it answers."""
        ...

    def pause(self) -> None:
        """Freeze the server."""
        ...

    def resume(self) -> None:
        """Resume the server; returns once it answers."""
        ...

    def log(self) -> str:
        """The log of the server."""
        ...

    def forget(self) -> None:
        """Release the resources of this process for a server that is gone."""
        ...


ServerFactory = Callable[[Session], Server]


def known_services() -> list[Service]:
    """The names of all services that an environment can have."""
    return [*SERVICES, *(name for name in _points() if name not in SERVICES)]


def extra_services(needs: Iterable[Service]) -> tuple[Service, ...]:
    """The needed services that not every environment has; raises `UsageError` for one that nothing provides."""
    known = known_services()
    for service in needs:
        if service not in known:
            close = difflib.get_close_matches(service, known, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(
                f"There is no service {service!r}.{meant} Known: {', '.join(known)}; "
                f"a package adds one by the entry point {GROUP!r}."
            )
    return tuple(service for service in needs if service not in SERVICES)


def other_urls(needs: Iterable[Service]) -> dict[Service, str]:
    """The URLs of needed services that exist already, from `HARNESS_<SERVICE>_URL`; raises `UsageError`."""
    found: dict[Service, str] = {}
    for service in needs:
        if service not in SERVICES:
            name = service_variable(service)
            if not os.environ.get(name):
                raise UsageError(f"The target needs {service}, and {name} is not set. Set it to its URL.")
            found[service] = os.environ[name]
    return found


def service_factory(service: Service) -> ServerFactory:
    """The function that makes the server of a service beyond `SERVICES`; raises `UsageError`."""
    extra_services([service])
    point = _points()[service]
    try:
        factory: ServerFactory = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"The service {service} ({point.value}) cannot be loaded: {error}. Install the package that has it again."
        ) from None
    return factory


def _points() -> dict[str, EntryPoint]:
    # The entry point of pyproject.toml, for a checkout that is not installed.
    bundled = EntryPoint(
        name="rabbitmq", value="harness.environments.local_rabbitmq:LocalRabbitmq", group=GROUP
    )
    return {point.name: point for point in (bundled, *entry_points(group=GROUP))}
