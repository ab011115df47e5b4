"""A server in a container with the session's label, published on one fixed port of the loopback address."""

from __future__ import annotations

import contextlib
import io
import posixpath
import secrets
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException
from docker.types import Mount
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from harness.environments import ports, probe, reaper
from harness.environments.base import SMALL_DISK_BYTES, Service
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable, GateError
from harness.masking import masked

if TYPE_CHECKING:
    from docker.models.containers import Container

_START_SECONDS = 120.0
_STOP_SECONDS = 10
_PORT_ATTEMPTS = 8
# Parts of the engine's messages about a port that is in use.
_TAKEN = ("already allocated", "already in use")
USER = "harness"
"""The superuser of each Postgres of the harness."""
SMALL_DISK = "/harness-small-disk"
"""A small file system in each container, which a fault can fill."""
_LIMIT = 'prlimit --pid 1 --fsize="$0":unlimited'
REDIS_OPTIONS = (
    *("--maxmemory-policy", "noeviction", "--appendonly", "yes"),
    *("--appendfsync", "everysec", "--save", ""),
)
"""How each Redis that keeps data runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSpec:
    """How a container runs a server that listens on `port` inside it.

    `url` has `{port}` where the published port belongs. A `script` for a shell replaces the entrypoint of the image;
    `user` is the one that runs it, empty for that of the image.
    """

    service: Service
    port: int
    stop_signal: str
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    script: str = ""
    user: str = ""


def single_server(service: Service) -> ContainerSpec:
    """The only server of a service, by the entrypoint of its image and with a new password."""
    password = secrets.token_hex(16)
    if service == "postgres":
        return postgres_server(5432, password)
    return ContainerSpec(
        service=service,
        port=6379,
        stop_signal="SIGTERM",
        url=f"redis://:{password}@{ports.LOOPBACK}:{{port}}/0",
        command=["--requirepass", password, *REDIS_OPTIONS],
    )


def postgres_server(port: int, password: str, *options: str) -> ContainerSpec:
    """A Postgres that makes its cluster on its first start; `options` are arguments of the server."""
    return ContainerSpec(
        service="postgres",
        port=port,
        # Fast shutdown: on SIGTERM Postgres waits until all clients have disconnected.
        stop_signal="SIGINT",
        url=f"postgresql://{USER}:{password}@{ports.LOOPBACK}:{{port}}/postgres",
        environment={
            "POSTGRES_USER": USER,
            "POSTGRES_PASSWORD": password,
            "POSTGRES_DB": "postgres",
            "POSTGRES_INITDB_ARGS": "--no-sync --encoding=UTF8 --locale=C.UTF-8",
        },
        command=["-c", "max_connections=200", *options],
    )


class ContainerServer:
    """One container; `begin` creates and starts it, `finish` waits until the server in it answers."""

    def __init__(self, spec: ContainerSpec, image: str, session: Session) -> None:
        self.service = spec.service
        self.version = ""
        self.port = 0
        self._image = image
        self._session = session
        self._spec = spec
        self._created: list[DockerContainer] = []

    @property
    def url(self) -> str:
        """The URL of the server with credentials."""
        return self._spec.url.format(port=self.port)

    def ask(self, service: Service, url: str) -> str:
        """The name and version of the server; raises `probe.NotAnswering` as long as it does not answer."""
        return probe.ask(service, url)

    def choose_ports(self) -> Mapping[int, int]:
        """The ports inside the container to publish, each with a free port of this machine."""
        self.port = ports.free_port()
        return {self._spec.port: self.port}

    def begin(self) -> None:
        """Create and start the container; chooses another port if the first is in use."""
        for _ in range(_PORT_ATTEMPTS):
            published = self.choose_ports()
            with self._engine_errors("start"):
                try:
                    self._start_container(published)
                except APIError as error:
                    if not any(words in str(error) for words in _TAKEN):
                        raise
                    self._container.remove(force=True, v=True)
                else:
                    return
        raise self._port_taken()

    def finish(self) -> None:
        """Wait until the server answers; raises `EnvironmentUnavailable`."""
        self.version = probe.wait_until_answers(
            self.service, self.url, patience=_START_SECONDS, check=self._check_alive, query=self.ask
        )

    def kill(self) -> None:
        """SIGKILL the container's processes; returns once they are gone."""
        with self._engine_errors("kill"):
            if self._status() in ("running", "paused"):
                self._container.kill()
                self._container.wait(timeout=_STOP_SECONDS)

    def shut_down(self) -> None:
        """Stop the container, a frozen one too; SIGKILL after `_STOP_SECONDS`."""
        with self._engine_errors("stop"):
            if self._status() == "paused":
                self._container.unpause()
            if self._status() == "running":
                self._container.stop(timeout=_STOP_SECONDS)

    def restart(self) -> None:
        """Start the container again, stopping it first if it runs; returns once the server answers."""
        self.shut_down()
        with self._engine_errors("restart"):
            try:
                self._container.start()
            except APIError as error:
                if any(words in str(error) for words in _TAKEN):
                    raise self._port_taken() from error
                raise
        self.finish()

    def pause(self) -> None:
        """Freeze every process of the container."""
        with self._engine_errors("pause"):
            if self._status() != "paused":
                self._container.pause()

    def resume(self) -> None:
        """Resume the container; returns once the server answers."""
        with self._engine_errors("resume"):
            if self._status() == "paused":
                self._container.unpause()
        self.finish()

    def read_file(self, path: str) -> bytes:
        """The content of a file in the container, which may be down."""
        return self._archived(path)[1]

    def write_file(self, path: str, data: bytes) -> None:
        """Replace the content of a file in the container, which may be down; its owner and rights stay."""
        entry, _ = self._archived(path)
        entry.size = len(data)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:") as tar:
            tar.addfile(entry, io.BytesIO(data))
        with self._engine_errors("write a file of"):
            self._container.put_archive(posixpath.dirname(path), archive.getvalue())

    @contextlib.contextmanager
    def limited_files(self, size: int) -> Iterator[None]:
        """The server cannot write behind the first `size` bytes of any file; raises `GateError`.

        Its process is the first one of the container, which a signal without a handler does not end (SIGXFSZ).
        """
        self._limit_files(str(size))
        try:
            yield
        finally:
            self._limit_files("unlimited")

    def _limit_files(self, size: str) -> None:
        with self._engine_errors("limit the files of"):
            # As the user of the server: another one may not set its limits.
            _, owner = self._run("stat", "-c", "%u", "/proc/1")
            code, output = self._run("sh", "-c", _LIMIT, size, user=owner)
        if code != 0:
            raise GateError(
                f"the files of the {self.service} container cannot be limited: {output}. "
                "Use an image with util-linux."
            )

    def small_disk(self) -> str:
        """The path of the small file system, on which the server may write; raises `GateError`."""
        # The mode of the mount is that of its creation only: after a restart of the container, root owns it.
        code, output = self._run("chmod", "1777", SMALL_DISK, user="root")
        if code:
            raise GateError(
                f"The small disk of the container cannot be opened to its server: {output}. See its image."
            )
        return SMALL_DISK

    def _run(self, *words: str, user: str = "") -> tuple[int, str]:
        """The exit code and the output of a command in the container."""
        found: Any = self._container.exec_run(list(words), user=user)
        return found.exit_code, found.output.decode(errors="replace").strip()

    def _archived(self, path: str) -> tuple[tarfile.TarInfo, bytes]:
        with self._engine_errors("read a file of"):
            parts, _ = self._container.get_archive(path)
            with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
                [entry] = tar.getmembers()
                file = tar.extractfile(entry)
                return entry, file.read() if file is not None else b""

    def log(self) -> str:
        """The output of the container so far."""
        with self._engine_errors("read the log of"):
            return self._container.logs().decode(errors="replace")

    def forget(self) -> None:
        """Close the connections to the Docker engine."""
        for container in self._created:
            container.get_docker_client().client.close()
        self._created.clear()

    @property
    def _container(self) -> Container:
        if not self._created:
            raise EnvironmentUnavailable(f"The {self.service} container is not created. Start it first.")
        return self._created[-1].get_wrapped_container()

    def _start_container(self, published: Mapping[int, int], **more: Any) -> None:
        spec = self._spec
        if spec.script:
            more["entrypoint"] = ["sh", "-ec", spec.script, "sh"]
        if spec.user:
            more["user"] = spec.user
        container = DockerContainer(
            self._image,
            env=dict(spec.environment),
            labels={reaper.LABEL: self._session.id},
            stop_signal=spec.stop_signal,
            shm_size="256m",
            mounts=[Mount(SMALL_DISK, None, "tmpfs", tmpfs_size=SMALL_DISK_BYTES, tmpfs_mode=0o1777)],
            **more,
        ).with_command(list(spec.command))
        # Set directly: testcontainers would prefix the image name and cannot publish on the loopback address.
        container.image = self._image
        bound: dict[str, Any] = {
            f"{inside}/tcp": (ports.LOOPBACK, port) for inside, port in published.items()
        }
        container.ports.update(bound)
        self._created.append(container)
        with _without_ryuk():
            container.start()

    def _status(self) -> str:
        self._container.reload()
        return str(self._container.status)

    def _check_alive(self) -> None:
        with self._engine_errors("look at"):
            status = self._status()
        if status in ("created", "restarting", "running", "paused"):
            return
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        raise EnvironmentUnavailable(
            f"The {self.service} container of {self._image} is {status}: "
            f"{masked(lines[-1]) if lines else 'it wrote no log'}. "
            "Correct what its log names, give another image, or use the embedded backend."
        )

    def _port_taken(self) -> EnvironmentUnavailable:
        return EnvironmentUnavailable(
            f"Port {self.port} on {ports.LOOPBACK} is taken, so the {self.service} container cannot use it. "
            "End the process that holds it and start again."
        )

    @contextlib.contextmanager
    def _engine_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        # `requests` raises subclasses of OSError if the engine goes away.
        except (DockerException, OSError) as error:
            reason = getattr(error, "explanation", None) or error
            raise EnvironmentUnavailable(
                f"The Docker engine did not {verb} the {self.service} container: {masked(str(reason))}. "
                "Check that the engine runs and that the image fits this machine."
            ) from error


@contextlib.contextmanager
def _without_ryuk() -> Iterator[None]:
    """Disable testcontainers' reaper, which needs an image and outlives the run; the session has its own."""
    before = testcontainers_config.ryuk_disabled
    testcontainers_config.ryuk_disabled = True
    try:
        yield
    finally:
        testcontainers_config.ryuk_disabled = before
