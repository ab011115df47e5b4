"""Postgres with a streaming standby, which can be promoted. Clients reach both servers by one URL.

The standby is synchronous: a commit is acknowledged once the standby has it on disk too (`synchronous_commit` is `on`),
so that a promotion loses nothing. With an asynchronous standby (`synchronous_standby_names` is empty), or with
`synchronous_commit=local` or `off`, a promotion loses what the standby has not received, although it was acknowledged.

While a server is alone, it waits for no standby, as managers of clusters configure it unless they have to be
strict: a commit of that time is on one disk.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from harness.environments import reaper
from harness.environments.base import WATCHING, Service
from harness.environments.local_postgres import LocalPostgres
from harness.environments.local_server import LocalServer, make_private
from harness.environments.ports import LOOPBACK
from harness.environments.session import Session
from harness.environments.topologies.group import ServerGroup
from harness.errors import EnvironmentUnavailable, UsageError, first_line

_ANY_STANDBY, _NO_STANDBY = "*", ""


class _Member(LocalPostgres):
    """The primary, or the standby: a copy of `source` that follows it."""

    programs = ("initdb", "postgres", "pg_basebackup")
    # Faults kill processes and never the machine, so nothing has to be synced. A copy would sync each of its files when
    # it starts. A standby tries to connect again this soon, instead of after 5 s.
    settings: Mapping[str, str] = {"fsync": "off", "wal_retrieve_retry_interval": "200ms"}

    def __init__(
        self, session: Session, *, binaries: Path | None, name: str, password: str, source: _Member | None
    ) -> None:
        super().__init__(session, binaries=binaries, name=name, password=password)
        self._source = source

    def prepare(self) -> None:
        """Create the cluster, or copy that of `source`; raises `EnvironmentUnavailable`."""
        if self._source is None:
            super().prepare()
        else:
            self._change_owner(self.home)
            self._find_binaries()
            self.copy(self._source)

    def copy(self, source: _Member) -> None:
        """Replace the data of this server, which is not running, by a copy of `source` that will follow it."""
        if self._data.exists():
            reaper.release_shared_memory(self.home, "data/postmaster.pid")
            shutil.rmtree(self._data)
        # In a file, because every user of the machine can read the arguments of a process.
        passwords = self.home / "pgpass"
        make_private(passwords, f"{LOOPBACK}:*:*:*:{self._password}\n")
        self._change_owner(passwords)
        place = f"host={LOOPBACK} port={source.port} user={self.user} passfile={passwords}"
        options = ("--checkpoint=fast", "--wal-method=stream", "--no-sync", "--write-recovery-conf")
        self._run("pg_basebackup", f"--pgdata={self._data}", f"--dbname={place}", *options)

    def rejoin(self, source: _Member) -> None:
        """Start this server again as the standby of `source`; returns once it answers."""
        self.kill()
        self.copy(source)
        self.restart()

    def ask_for(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """The rows of a query; raises `EnvironmentUnavailable`."""
        try:
            with closing(psycopg.connect(self.url, autocommit=True, application_name=WATCHING)) as connection:
                found = connection.execute(query)
                return found.fetchall() if found.description else []
        except psycopg.Error as error:
            raise EnvironmentUnavailable(
                f"Postgres did not carry out {query.split()[0]}: {first_line(error)}. See its log."
            ) from None

    def set(self, name: LiteralString, value: LiteralString) -> None:
        """Change a setting; the server notices it a moment later."""
        self.ask_for(f"ALTER SYSTEM SET {name} = '{value}'")
        self.ask_for("SELECT pg_reload_conf()")


class PostgresWithStandby(ServerGroup):
    """A primary with one synchronous standby."""

    service: Service = "postgres"

    def __init__(self, session: Session, *, binaries: Path | None = None) -> None:
        password = secrets.token_hex(16)
        first = _Member(session, binaries=binaries, name="postgres", password=password, source=None)
        second = _Member(session, binaries=binaries, name="postgres-2", password=password, source=first)
        self._pair = (first, second)
        self._primary, self._standby = first, second
        self._password = password
        self._is_alone = False

    @property
    def members(self) -> Sequence[LocalServer]:
        """Both servers."""
        return self._pair

    @property
    def url(self) -> str:
        """Both servers; a client connects to the one that accepts writes."""
        hosts = ",".join(LOOPBACK for _ in self._pair)
        places = f"host={hosts}&port={','.join(str(one.port) for one in self._pair)}"
        login = f"{self._primary.user}:{self._password}"
        return f"postgresql://{login}@/postgres?{places}&target_session_attrs=read-write"

    @property
    def version(self) -> str:
        """As the primary reports it, and that there is a standby."""
        return f"{self._primary.version} with a synchronous standby"

    def begin(self) -> None:
        """Create and launch the primary."""
        self._primary.begin()

    def finish(self) -> None:
        """Copy the primary and start the standby; returns once it is synchronous."""
        self._primary.finish()
        self._standby.begin()
        self._standby.finish()
        self._wait_until_synchronous()

    def fail_over(self, *, lag: float = 0.0, frozen: bool = False) -> None:
        """SIGKILL the primary and promote the standby; returns once that accepts writes.

        With `lag`, the standby is asynchronous and receives nothing for as many seconds before.
        """
        if frozen:
            raise UsageError(
                "A frozen primary of Postgres would accept writes again beside the promoted one. Leave `frozen` out."
            )
        lost, standby = self._primary, self._standby
        # From here on the standby has to be copied again, however far this comes.
        self._is_alone = True
        if lag:
            lost.set("synchronous_standby_names", _NO_STANDBY)
            standby.set("primary_conninfo", "")
            self.wait_for("the standby receives nothing", lambda: not self._states())
            time.sleep(lag)
        lost.kill()
        standby.set("synchronous_standby_names", _NO_STANDBY)
        standby.ask_for("SELECT pg_promote()")
        self._primary, self._standby = standby, lost
        self.wait_for(
            "the standby is promoted", lambda: standby.ask_for("SELECT NOT pg_is_in_recovery()")[0][0]
        )

    def rejoin(self) -> None:
        """Start the lost server again as a copy of the primary; returns once it is a synchronous standby."""
        if self._is_alone:
            self._standby.rejoin(self._primary)
            self._wait_until_synchronous()
            self._is_alone = False

    def _wait_until_synchronous(self) -> None:
        self.wait_for("the standby receives", lambda: ("streaming",) in {row[:1] for row in self._states()})
        self._primary.set("synchronous_standby_names", _ANY_STANDBY)
        self.wait_for("the standby is synchronous", lambda: ("streaming", "sync") in self._states())

    def _states(self) -> list[tuple[Any, ...]]:
        return self._primary.ask_for("SELECT state, sync_state FROM pg_stat_replication")
