"""Connects to the Docker engine of the containers backend, or explains in one sentence why it cannot."""

from __future__ import annotations

import importlib.util
import socket
from typing import TYPE_CHECKING, Any

from harness.errors import EnvironmentUnavailable
from harness.masking import masked

if TYPE_CHECKING:
    import docker

_TIMEOUT_SECONDS = 120
_DEFAULT_SOCKET = "/var/run/docker.sock"


def require_testcontainers() -> None:
    """Raise `EnvironmentUnavailable` if testcontainers is not installed."""
    if importlib.util.find_spec("testcontainers") is None or importlib.util.find_spec("docker") is None:
        raise EnvironmentUnavailable(
            "The containers backend needs testcontainers. Run `pip install 'agentexec-harness[containers]'`."
        )


def engine_url() -> str:
    """The engine URL of the user's Docker settings; empty for the default socket."""
    from testcontainers.core.docker_client import get_docker_host

    return get_docker_host() or ""


def connect(timeout: int = _TIMEOUT_SECONDS) -> docker.DockerClient:
    """A client of the engine; the caller closes it. A request may take `timeout` seconds.

    Raises `EnvironmentUnavailable` if no engine answers or testcontainers is not installed.
    """
    require_testcontainers()
    import docker

    url = engine_url()
    _require_listening(url)
    options: dict[str, Any] = {"use_ssh_client": True} if url.startswith("ssh://") else {}
    try:
        client = (
            docker.DockerClient(base_url=url, timeout=timeout, **options)
            if url
            else docker.from_env(timeout=timeout)
        )
    except docker.errors.DockerException as error:
        raise _no_engine(url) from error
    try:
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        client.close()
        raise _no_engine(url) from error
    return client


def _require_listening(url: str) -> None:
    """Probe a Unix socket first, because the SDK leaks its own socket if no engine answers."""
    if url and not url.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(url.removeprefix("unix://") or _DEFAULT_SOCKET)
        except OSError as error:
            raise _no_engine(url) from error


def _no_engine(url: str) -> EnvironmentUnavailable:
    return EnvironmentUnavailable(
        f"No Docker engine answers at {masked(url) or _DEFAULT_SOCKET}. "
        "Start Docker (and check that your user may use it), or choose the embedded backend, which needs none."
    )
