"""The containers backend: official images, or those of `harness images build`."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from harness.environments import engine
from harness.environments.backend import ServersEnvironment
from harness.environments.base import Service
from harness.environments.images import BUILT_IMAGES, is_present
from harness.environments.services import Server
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable, UsageError
from harness.masking import masked

if TYPE_CHECKING:
    import docker

    from harness.environments.container_server import ContainerServer

DEFAULT_IMAGES: dict[Service, str] = {
    "postgres": "postgres:18",
    "redis": "redis:8",
    "pgbouncer": "edoburu/pgbouncer:latest",
}
IMAGE_VARIABLES: dict[Service, str] = {
    "postgres": "HARNESS_POSTGRES_IMAGE",
    "redis": "HARNESS_REDIS_IMAGE",
    "pgbouncer": "HARNESS_PGBOUNCER_IMAGE",
}
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class ContainersEnvironment(ServersEnvironment):
    """Runs both servers as containers, published on loopback ports.

    An image that is given here, or by `HARNESS_POSTGRES_IMAGE` or `HARNESS_REDIS_IMAGE`, is never replaced by another.
    Otherwise the order is: the official image if the engine has it, the image of `harness images build`, the official
    image from its registry.
    """

    name: ClassVar[str] = "containers"

    def __init__(self, *, postgres_image: str | None = None, redis_image: str | None = None) -> None:
        super().__init__()
        self._images: dict[Service, str | None] = {"postgres": postgres_image, "redis": redis_image}

    def make_servers(self, session: Session) -> dict[Service, Server]:
        """Find or pull the images and return a server for each."""
        images = self.find_images(session)
        # Imported here, so that this module can be imported without testcontainers.
        from harness.environments.container_server import ContainerServer, single_server

        return {
            service: ContainerServer(single_server(service), image, session)
            for service, image in images.items()
        }

    def find_images(self, session: Session) -> dict[Service, str]:
        """The image of each service, present on the engine that the session uses from now on."""
        client = engine.connect()
        try:
            _require_local(engine.engine_url())
            images = {
                service: find_image(client, service, wanted) for service, wanted in self._images.items()
            }
        finally:
            client.close()
        session.uses_engine(engine.engine_url())
        return images

    def small_disk(self, service: Service) -> str:
        """The small file system in a container; raises `GateError`."""
        return self._container_server(service).small_disk()

    def limited_files(self, service: Service, size: int) -> AbstractContextManager[None]:
        """The server cannot write behind the first `size` bytes of any file; raises `GateError`."""
        return self._container_server(service).limited_files(size)

    def read_file(self, service: Service, path: str) -> bytes:
        """The content of a file in a container."""
        return self._container_server(service).read_file(path)

    def write_file(self, service: Service, path: str, data: bytes) -> None:
        """Replace the content of a file in a container."""
        self._container_server(service).write_file(path, data)

    def _container_server(self, service: Service) -> ContainerServer:
        from harness.environments.container_server import ContainerServer

        server = self._server(service)
        if not isinstance(server, ContainerServer):
            raise UsageError(f"{service} does not run in a container of its own. Choose postgres or redis.")
        return server


def find_image(client: docker.DockerClient, service: Service, wanted: str | None = None) -> str:
    """The image to run, pulled if necessary; raises `EnvironmentUnavailable` if there is none."""
    from docker.errors import DockerException

    asked_for = wanted or os.environ.get(IMAGE_VARIABLES[service])
    image = asked_for or DEFAULT_IMAGES[service]
    if is_present(client, image):
        return image
    if not asked_for and is_present(client, BUILT_IMAGES[service]):
        return BUILT_IMAGES[service]
    try:
        client.images.pull(image)
    except (DockerException, OSError) as error:
        remedy = (
            f"Pull it by hand, or give another image by {IMAGE_VARIABLES[service]}."
            if asked_for
            else "If no registry can be reached, run `harness images build` once: it builds them."
        )
        reason = masked(str(getattr(error, "explanation", None) or error))
        raise EnvironmentUnavailable(
            f"The image {image} is not present and cannot be pulled: {reason}. {remedy}"
        ) from error
    return image


def _require_local(url: str) -> None:
    host = urlsplit(url).hostname if url.startswith(("ssh:", "tcp:", "http")) else None
    if host is not None and host not in _LOCAL_HOSTS:
        raise EnvironmentUnavailable(
            f"The Docker engine is on another machine ({host}), where its loopback ports cannot be reached. "
            "Use an engine on this machine (unset DOCKER_HOST), or the embedded or external backend."
        )
