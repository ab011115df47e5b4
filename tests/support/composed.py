"""Runs a Compose file on a Docker engine that has no Compose: its build, its services, and what they share.

The Python of an image is that of this process, with what is installed for it: no image and no package is downloaded.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from harness.environments import reaper
from tests.support.environment import ROOT

_OWN = "agentexec-harness"
_ENVIRONMENT = Path("/opt/environment")
_AGENTEXEC = f"""#!{_ENVIRONMENT}/bin/python
import sys
from agentexec.cli import main
sys.exit(main())
"""
_LEFT_OUT = re.compile(
    r"/lib/python3\.\d+/(test|idlelib|ensurepip|lib2to3|tkinter|config-[^/]+)(/|$)|\.a$|\.opt-\d\.pyc$"
)
_NANO_CPUS = 10**9


def build_python_image(
    client: docker.DockerClient,
    image: str,
    name: str,
    *,
    extras: Collection[str] = ("load",),
    programs: Collection[Path] = (),
) -> None:
    """Make an image of `image` and this Python, with pip and this project and its extras in `_ENVIRONMENT`.

    `programs` of this machine are in `/usr/bin`, with the libraries that they need. It is one import of a whole file
    system: a build copies the same files in five times as long. The environment has a place of its own, because a
    checkout may be below a folder that a service hides, such as `/tmp`.
    """
    environment = Path(sys.prefix)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Only root may enter its home, and the load is another user.
    folders = {str(path)[1:] for path in Path(sys.base_prefix).parents} - {""}
    container = client.containers.create(image)
    try:
        with (
            tempfile.TemporaryFile() as exported,
            tempfile.NamedTemporaryFile(suffix=".tar") as made,
            tarfile.open(made.name, "w") as tar,
        ):
            parts: Any = container.export()  # the engine's stream of bytes, which its types call a text
            exported.writelines(parts)
            exported.seek(0)
            with tarfile.open(fileobj=exported) as source:
                for entry in source:
                    if entry.name not in folders:
                        tar.addfile(entry, source.extractfile(entry) if entry.isfile() else None)
            for folder in sorted(folders):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            present = set(tar.getnames())
            tar.add(sys.base_prefix, filter=_kept_of_base)
            for path in (environment / "pyvenv.cfg", *_files(packages, extras)):
                tar.add(path, _moved(path, environment), filter=_kept)
            for path in (environment / "bin").iterdir():
                _add_program(tar, path, environment)
            # The distribution of agentexec has this command; that of the checkout has none.
            _add_text(tar, str(_ENVIRONMENT / "bin" / "agentexec"), _AGENTEXEC)
            for package in ("agentexec", "harness"):
                tar.add(ROOT / package, _moved(packages / package, environment), filter=_kept)
            for path, place in _with_libraries(programs).items():
                if place[1:] not in present:
                    tar.add(path, place)
            tar.close()
            repository, tag = name.split(":")
            changes = [f"ENV PATH={_ENVIRONMENT}/bin:/usr/bin:/bin PIP_NO_INDEX=1"]
            client.api.import_image_from_file(made.name, repository=repository, tag=tag, changes=changes)
    finally:
        container.remove(v=True)


def _moved(path: Path, environment: Path) -> str:
    return str(_ENVIRONMENT / path.relative_to(environment))


def _add_program(tar: tarfile.TarFile, path: Path, environment: Path) -> None:
    """Add a program of the environment; a script names the interpreter in its first line."""
    entry = tar.gettarinfo(path, _moved(path, environment))
    entry.uid = entry.gid = 0
    if not entry.isfile():
        tar.addfile(entry)
        return
    data = path.read_bytes().replace(f"#!{environment}/".encode(), f"#!{_ENVIRONMENT}/".encode(), 1)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _add_text(tar: tarfile.TarFile, place: str, text: str) -> None:
    """Add a program."""
    entry = tarfile.TarInfo(place)
    entry.mode, entry.size = 0o755, len(text)
    tar.addfile(entry, io.BytesIO(text.encode()))


def _with_libraries(programs: Collection[Path]) -> Mapping[Path, str]:
    """The files of the programs and of the libraries that the linker finds for them, with their places."""
    found = {program.resolve(): f"/usr/bin/{program.name}" for program in programs}
    for program in programs:
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for library in map(Path, re.findall(r"/\S+", linked)):
            # A folder such as /lib may be a link.
            found[library.resolve()] = str(library.parent.resolve() / library.name)
    return found


def _files(packages: Path, extras: Collection[str]) -> set[Path]:
    """The files of pip, and of what this project needs with the extras; distributions may share a file."""
    found = (
        Path(os.path.normpath(str(file.locate())))
        for name in _installed({_OWN, "pip"}, frozenset(extras))
        for file in distribution(name).files or ()
    )
    return {path for path in found if path.is_relative_to(packages) and path.exists()}


def _installed(names: set[str], extras: frozenset[str]) -> set[str]:
    """The distributions with all that they require."""
    found: set[str] = set(names)
    waiting = [(name, extras if name == _OWN else frozenset[str]()) for name in names]
    while waiting:
        name, wanted = waiting.pop()
        found.add(name)
        for requirement in map(Requirement, distribution(name).requires or ()):
            marker = requirement.marker
            needed = marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted | {""})
            if needed and (other := canonicalize_name(requirement.name)) not in found:
                waiting.append((other, frozenset(requirement.extras)))
    return found


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    return None if _LEFT_OUT.search(f"/{entry.name}") else entry


def _kept_of_base(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "/site-packages/" in entry.name else _kept(entry)


class ComposeFile:
    """A Compose file whose variables have `values`; a missing one that it requires is a `KeyError`."""

    def __init__(self, path: Path, values: Mapping[str, str]) -> None:
        self._folder = path.parent
        self._values = values
        document = YAML(typ="safe").load(
            re.sub(r"\$\{(\w+):([-?])([^}]*)\}", self._value, path.read_text("utf-8"))
        )
        self.services: Mapping[str, Any] = document["services"]
        self._volumes: list[str] = list(document["volumes"])

    def _value(self, found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        return self._values.get(name) or text if kind == "-" else self._values[name]

    def build(self, client: docker.DockerClient, folder: Path) -> None:
        """Build the image of the services from a folder that has their files."""
        for service in self.services.values():
            build = service["build"]
            client.images.build(
                path=str(folder / build["context"]),
                dockerfile=build["dockerfile"],
                buildargs=build["args"],
                tag=service["image"],
                rm=True,
            )

    @contextmanager
    def up(self, client: docker.DockerClient, network: str) -> Iterator[Mapping[str, list[Container]]]:
        """The containers of each service, in a network of the engine that exists; they are removed with all else."""
        with ExitStack() as stack:
            volumes = {}
            for name in self._volumes:
                volume = client.volumes.create(f"{network}-{name}")
                stack.callback(volume.remove, force=True)
                volumes[name] = volume.name
            found: dict[str, list[Container]] = {}
            for name, service in self.services.items():
                for _ in range(int(service["deploy"].get("replicas", 1))):
                    container = run(client, network, name, **_options(service, volumes))
                    stack.callback(container.remove, force=True, v=True)
                    found.setdefault(name, []).append(container)
            yield found


def run(client: docker.DockerClient, network: str, alias: str, **options: Any) -> Container:
    """Start a container with a name in a network."""
    endpoint = client.api.create_endpoint_config(aliases=[alias])
    container = client.containers.create(
        **options, network=network, networking_config={network: endpoint}, labels={reaper.LABEL: network}
    )
    container.start()
    return container


def _options(service: Mapping[str, Any], volumes: Mapping[str, str]) -> dict[str, Any]:
    limits = service["deploy"]["resources"]["limits"]
    mounts = (one.split(":") for one in service.get("volumes", []))
    kept = ("image", "command", "environment", "init", "read_only", "cap_drop", "security_opt")
    return {
        **{name: service[name] for name in kept},
        "tmpfs": dict.fromkeys(service["tmpfs"], ""),
        "volumes": {volumes[name]: {"bind": path, "mode": "rw"} for name, path in mounts},
        "nano_cpus": round(float(limits["cpus"]) * _NANO_CPUS),
        "mem_limit": limits["memory"].lower(),
    }
