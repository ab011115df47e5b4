"""PgBouncer in transaction mode before Postgres: what each one needs, and Debian's package as a child process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from urllib.parse import urlsplit

import psycopg

from harness.environments import probe
from harness.environments.base import Service
from harness.environments.local_postgres import unprivileged
from harness.environments.local_server import Credentials, LocalServer, make_private
from harness.environments.ports import LOOPBACK
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable, first_line

_ANSWER_SECONDS = 2
# Fewer connections to the server than a run has to the pooler.
_SERVER_CONNECTIONS = 5


def program() -> str | None:
    """The path of the program, None if it is not installed."""
    return shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


def behind(pooler: str, database_url: str) -> str:
    """The URL of the database through a pooler at an address."""
    url = urlsplit(database_url)
    return f"postgresql://{url.username}:{url.password}@{pooler}{url.path}"


def users(database_url: str) -> str:
    """The file of users."""
    url = urlsplit(database_url)
    return f'"{url.username}" "{url.password}"\n'


def configuration(database_url: str, **settings: object) -> str:
    """The configuration of a pooler that reaches the database by this URL."""
    url = urlsplit(database_url)
    settings |= {
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "pool_mode": "transaction",
        "default_pool_size": _SERVER_CONNECTIONS,
        "max_client_conn": 200,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["[databases]", f"* = host={url.hostname} port={url.port}", "[pgbouncer]", *lines, ""])


def require_answer(url: str) -> None:
    """Raise `probe.NotAnswering` unless the pooler leads to the database; sets nothing in the server's session."""
    try:
        with psycopg.connect(url, connect_timeout=_ANSWER_SECONDS, autocommit=True) as connection:
            connection.execute("SELECT 1", prepare=False)
    except psycopg.Error as error:
        raise probe.NotAnswering(first_line(error)) from error


def version_in(told: str) -> str:
    """The name and version of a pooler, from what `pgbouncer --version` prints."""
    return told.partition("\n")[0].strip() or "PgBouncer"


class LocalPgbouncer(LocalServer):
    """PgBouncer before a Postgres; each transaction of a client may have another connection of the server."""

    service: Service = "pgbouncer"
    stop_signal = signal.SIGINT

    def __init__(self, session: Session, *, database_url: str) -> None:
        super().__init__(session, None)
        self._database_url = database_url
        self._configuration = self.home / "pgbouncer.ini"
        self._users = self.home / "users"

    @property
    def url(self) -> str:
        """The URL of the database through the pooler."""
        return behind(f"{LOOPBACK}:{self.port}", self._database_url)

    def prepare(self) -> None:
        """Write the file of users; raises `EnvironmentUnavailable` if PgBouncer is not installed."""
        _required()
        make_private(self._users, users(self._database_url))

    def command(self) -> list[str]:
        """The command that runs the pooler in the foreground with its log on standard error."""
        return [_required(), str(self._configuration)]

    def credentials(self) -> Credentials:
        """The user `nobody` if this process is root, as which PgBouncer does not run."""
        return unprivileged()

    def ask(self, service: Service, url: str) -> str:
        """The version of the pooler, once it leads to the database."""
        require_answer(url)
        told = subprocess.run([_required(), "--version"], capture_output=True, encoding="utf-8", check=False)
        return version_in(told.stdout)

    def _launch_on(self, port: int) -> None:
        # It takes its port from its configuration only.
        text = configuration(
            self._database_url, listen_addr=LOOPBACK, listen_port=port, auth_file=self._users
        )
        make_private(self._configuration, text)
        for path in (self.home, self._users, self._configuration):
            if who := self.credentials():
                os.chown(path, who["user"], who["group"])
        super()._launch_on(port)


def _required() -> str:
    found = program()
    if found is None:
        raise EnvironmentUnavailable("PgBouncer is not installed. Run `apt-get install pgbouncer`.")
    return found
