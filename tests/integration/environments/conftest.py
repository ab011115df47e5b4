"""What the tests of the environments share: an engine with images, folders that every user can enter, traces."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.environments import engine
from harness.environments.containers import DEFAULT_IMAGES, find_image
from harness.environments.images import build_images
from harness.errors import EnvironmentUnavailable


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Everything by which a session could still be seen on this machine; not the reaper's own way of looking."""

    session: str
    folder: Path
    temporary: Path | None = None
    segments: tuple[int, ...] = ()

    def processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter(["pid", "name", "status", "environ", "cwd"]):
            marks = (process.info["environ"] or {}).get("HARNESS_SESSION", "")
            inside = str(process.info["cwd"] or "").startswith(str(self.folder))
            if process.info["status"] != psutil.STATUS_ZOMBIE and (self.session in marks or inside):
                found.append(f"{process.info['name']} ({process.pid})")
        return found

    def containers(self) -> list[str]:
        try:
            client = engine.connect()
        except EnvironmentUnavailable:
            return []
        try:
            label = f"agentexec-harness.session={self.session}"
            return [str(c.name) for c in client.containers.list(all=True, filters={"label": label})]
        finally:
            client.close()

    def shared_memory(self) -> list[int]:
        table = Path("/proc/sysvipc/shm")
        if not table.exists():
            return []
        present = {int(line.split()[1]) for line in table.read_text().splitlines()[1:]}
        return [segment for segment in self.segments if segment in present]

    def left(self) -> dict[str, object]:
        files = [str(path) for path in self.temporary.iterdir()] if self.temporary else []
        everything: dict[str, object] = {
            "processes": self.processes(),
            "folder": [str(self.folder)] if self.folder.exists() else [],
            "temporary files": files,
            "containers": self.containers(),
            "shared memory": self.shared_memory(),
        }
        return {kind: found for kind, found in everything.items() if found}


def segments_of(folder: Path) -> tuple[int, ...]:
    """Ids of the System V segments that a Postgres in the folder holds."""
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    return (int(pid_file.read_text().splitlines()[6].split()[1]),) if pid_file.exists() else ()


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An engine with all images, built where they can neither be found nor pulled; skips without, but not in CI."""
    folder = tmp_path_factory.getbasetemp()
    # Under xdist, each worker's folder is below one that all share.
    lock = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "images.lock"
    try:
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            provide_images()
    except EnvironmentUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def provide_images() -> None:
    client = engine.connect()
    try:
        for service in DEFAULT_IMAGES:
            find_image(client, service)
    except EnvironmentUnavailable:
        build_images(print)
    finally:
        client.close()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter and write to, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
