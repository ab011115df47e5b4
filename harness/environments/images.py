"""Builds images of the servers from Debian's packages, for machines without access to an image registry.

mmdebstrap collects a minimal system with the server through this machine's apt settings. The engine imports it
in one step, so the build needs neither buildx nor a network. The images accept the same variables and arguments
as the official ones.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.environments import engine
from harness.environments.base import SERVICES, Service
from harness.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    import docker

BUILT_IMAGES: dict[Service, str] = {
    "postgres": "agentexec-harness/postgres:debian",
    "redis": "agentexec-harness/redis:debian",
}
# Its package has its libraries too, so an image of its own would take longer to build.
BUILT_IMAGES["pgbouncer"] = BUILT_IMAGES["postgres"]

_FILES = Path(__file__).with_name("image_files")
_ENTRYPOINT = "/usr/local/bin/entrypoint"
_FALLBACK_SUITE = "bookworm"
_IMPORT_TIMEOUT_SECONDS = 600
_HOST_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
# Not installed: documentation except licences, translations, and the JIT compiler, which Postgres does not need.
_EXCLUDED = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/lib/*/libLLVM*",
    "path-exclude=/usr/lib/postgresql/*/lib/llvmjit*",
    "path-exclude=/usr/lib/postgresql/*/lib/bitcode/*",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recipe:
    """The content of one image; `settings` are Dockerfile instructions that need no build."""

    package: str
    settings: tuple[str, ...]
    hooks: tuple[str, ...] = ()


_RECIPES: dict[Service, _Recipe] = {
    "postgres": _Recipe(
        package="postgresql,pgbouncer",
        settings=(
            "ENV PGDATA=/var/lib/postgresql/data LANG=C.UTF-8",
            "VOLUME /var/lib/postgresql",
            "EXPOSE 5432",
            'CMD ["postgres"]',
        ),
        # Prevents Debian's package from creating a cluster.
        hooks=(
            '--essential-hook=mkdir -p "$1/etc/postgresql-common"',
            '--essential-hook=echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"',
        ),
    ),
    "redis": _Recipe(
        package="redis-server",
        settings=("WORKDIR /data", "VOLUME /data", "EXPOSE 6379", 'CMD ["redis-server"]'),
        hooks=('--customize-hook=mkdir -p "$1/data"',),
    ),
}


def build_images(
    progress: Callable[[str], None], *, suite: str | None = None, force: bool = False
) -> list[str]:
    """Build both images and return their names; an existing image is rebuilt only with `force`.

    `suite` is the Debian release of the packages (default: this machine's). `progress` is called with one line at a
    time. Raises `EnvironmentUnavailable` if the engine or mmdebstrap is missing, or packages cannot be downloaded.
    """
    client = engine.connect(timeout=_IMPORT_TIMEOUT_SECONDS)
    try:
        for service in SERVICES:
            name = BUILT_IMAGES[service]
            if not force and is_present(client, name):
                progress(f"{name}: present already")
                continue
            _build(client, service, suite or host_suite(), progress)
    finally:
        client.close()
    return [BUILT_IMAGES[service] for service in SERVICES]


def is_present(client: docker.DockerClient, image: str) -> bool:
    """Whether the engine has the image locally."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def host_suite() -> str:
    """The Debian release of this machine, or a stable release on another system."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return _FALLBACK_SUITE
    return (
        release.get("VERSION_CODENAME", _FALLBACK_SUITE) if release.get("ID") == "debian" else _FALLBACK_SUITE
    )


def _build(
    client: docker.DockerClient, service: Service, suite: str, progress: Callable[[str], None]
) -> None:
    from docker.errors import APIError

    name, recipe = BUILT_IMAGES[service], _RECIPES[service]
    program = shutil.which("mmdebstrap")
    if program is None:
        raise EnvironmentUnavailable(
            "Images are built with mmdebstrap, which is not installed. Run `apt-get install mmdebstrap`."
        )
    with tempfile.TemporaryDirectory(prefix="hx-image-") as folder:
        archive = Path(folder, "root.tar")
        progress(f"{name}: collecting {recipe.package} and its dependencies from Debian {suite}")
        _collect(
            [program, *_arguments(service, recipe), suite, str(archive), *_sources(suite)], name, progress
        )
        progress(f"{name}: importing {archive.stat().st_size / 1e6:.0f} MB")
        try:
            _import(client, archive, name, recipe)
        except APIError as error:
            raise EnvironmentUnavailable(
                f"The Docker engine refused the image {name}: {error.explanation}. Check the engine's free disk space."
            ) from error
    progress(f"{name}: built")


def _import(client: docker.DockerClient, archive: Path, name: str, recipe: _Recipe) -> None:
    from docker.errors import APIError

    previous = client.images.get(name).id if is_present(client, name) else None
    repository, tag = name.split(":")
    changes = [f'ENTRYPOINT ["{_ENTRYPOINT}"]', *recipe.settings]
    client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
    current = client.images.get(name).id
    if previous is not None and previous != current:
        # The old image has no name any more; removing it fails if a container still uses it.
        with contextlib.suppress(APIError):
            client.images.remove(previous)


def _arguments(service: Service, recipe: _Recipe) -> list[str]:
    script = _FILES / f"{service}-entrypoint.sh"
    return [
        "--variant=minbase",
        f"--include={recipe.package}",
        *(f"--dpkgopt={option}" for option in _EXCLUDED),
        *recipe.hooks,
        f"--customize-hook=upload {script} {_ENTRYPOINT}",
        f'--customize-hook=chmod 755 "$1{_ENTRYPOINT}"',
    ]


def _sources(suite: str) -> list[str]:
    """The machine's package sources if they fit the release; empty for mmdebstrap's default mirror."""
    if suite != host_suite():
        return []
    return [str(file) for file in _HOST_SOURCES if file.is_file() and file.stat().st_size][:1]


def _collect(command: list[str], name: str, progress: Callable[[str], None]) -> None:
    last_lines: deque[str] = deque(maxlen=5)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        if process.stderr is None:
            raise AssertionError("stderr is a pipe")
        for line in process.stderr:
            last_lines.append(line.strip())
            # Only its steps, not its decisions and hooks.
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                progress(f"{name}: {line[3:].strip()}")
    if process.returncode != 0:
        raise EnvironmentUnavailable(
            f"mmdebstrap failed with code {process.returncode}: {' / '.join(last_lines)}. "
            "Check that apt reaches its mirror with `apt-get update`."
        )
