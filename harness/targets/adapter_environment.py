"""The Python environment of an adapter: created on demand, with its requirements from pip, and kept in a cache.

Each combination of requirements and Python has one folder. A lock file lets one process at a time create it, and a
marker that is written last shows that it is complete. pip's own configuration decides where packages come from.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.errors import TargetFailed, UsageError
from harness.masking import masked
from harness.targets.adapter_file import AdapterFile

ENV_CACHE = "HARNESS_CACHE"
_COMPLETE = "harness-complete"
_LAST_LINES = 6

Say = Callable[[str], None]


class AdapterEnvironment:
    """The environment of one adapter; `python` is its interpreter."""

    def __init__(self, adapter: AdapterFile) -> None:
        self._adapter = adapter
        self.is_own = bool(adapter.requirements)
        """Whether the adapter has an environment of its own, not that of the harness."""
        self.folder = cache_folder() / f"{adapter.name}-{_digest(adapter)}"
        self.python = str(self.folder / "bin" / "python") if self.is_own else sys.executable

    @property
    def is_complete(self) -> bool:
        """Whether everything is installed."""
        return not self.is_own or ((self.folder / _COMPLETE).exists() and Path(self.python).exists())

    def create(self, say: Say) -> None:
        """Create the environment if it is incomplete; raises `TargetFailed` with the end of pip's output."""
        if self.is_complete:
            return
        with _locked(self.folder.parent / f"{self.folder.name}.lock", say) as lock:
            if not self.is_complete:
                say(f"installing {self._adapter.name} into {self.folder}")
                shutil.rmtree(self.folder, ignore_errors=True)
                # A pip of its own would take longer than most requirements.
                alone, pip = ["--without-pip"], [sys.executable, "-m", "pip", "--python", self.python]
                if not _has_pip():
                    alone, pip = [], [self.python, "-m", "pip"]
                self._run([sys.executable, "-m", "venv", *alone, str(self.folder)], "the environment", lock)
                wanted = self.folder / "requirements.txt"
                wanted.write_text("\n".join(self._adapter.requirements) + "\n", "utf-8")
                command = [*pip, "install", "--disable-pip-version-check", "--no-input", "-r", str(wanted)]
                self._run(command, ", ".join(self._adapter.requirements), lock)
                (self.folder / _COMPLETE).touch()

    def version(self) -> str | None:
        """The installed version of the adapter's distribution, None if it is unknown."""
        name = self._adapter.distribution
        if name is None or not self.is_complete:
            return None
        path = (
            [str(found) for found in self.folder.glob("lib/python*/site-packages")]
            if self.is_own
            else sys.path
        )
        found = importlib.metadata.Distribution.discover(name=name, path=path)
        return next((distribution.version for distribution in found), None)

    def _run(self, command: Sequence[str], what: str, lock: IO[bytes]) -> None:
        # The child inherits the lock: if this process is killed, no other one starts while pip still writes.
        ended = subprocess.run(
            command,
            cwd=self._adapter.folder,
            env={name: value for name, value in os.environ.items() if name not in _LEAKING},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            check=False,
        )
        if ended.returncode:
            output = masked(ended.stdout.decode(errors="replace")).strip().splitlines()
            shown = "\n".join(output[-_LAST_LINES:])
            raise TargetFailed(
                f"{what} of the adapter {self._adapter.name} could not be installed "
                f"(code {ended.returncode}). Check the requirements and pip's configuration; pip wrote: {shown}"
            )


# Variables with which a Python would use the modules of another environment.
_LEAKING = frozenset(
    {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_USER"}
)


def cache_folder() -> Path:
    """The folder of all environments of adapters: `$HARNESS_CACHE`, or ~/.cache/agentexec-harness/targets."""
    given = os.environ.get(ENV_CACHE)
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "agentexec-harness" / "targets"


def _has_pip() -> bool:
    """Whether the pip beside the harness can install into another environment, as it can since 22.3."""
    try:
        return int(importlib.metadata.version("pip").partition(".")[0]) >= 23
    except importlib.metadata.PackageNotFoundError:
        return False


def _digest(adapter: AdapterFile) -> str:
    parts = [sys.version, str(Path(sys.base_prefix).resolve()), *sorted(adapter.requirements)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[IO[bytes]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("ab")
    except OSError as error:
        raise UsageError(
            f"{path.parent} cannot be used: {error.strerror}. Set {ENV_CACHE} to a folder that can be written to."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that installs into {path.parent / path.stem}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
