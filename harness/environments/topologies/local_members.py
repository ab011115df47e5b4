"""The servers of the topologies as child processes."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.environments import reaper
from harness.environments.local_postgres import LocalPostgres
from harness.environments.local_redis import LocalRedis
from harness.environments.local_server import make_private
from harness.environments.ports import LOOPBACK
from harness.environments.session import Session
from harness.environments.topologies.group import GroupMember
from harness.environments.topologies.postgres_standby import (
    COPY_OPTIONS,
    MEMBER_SETTINGS,
    AskedPostgres,
    PostgresWithStandby,
)


class LocalRedisServers:
    """Servers from one program, in folders of the session."""

    def __init__(self, session: Session, *, binary: Path | None = None) -> None:
        self.password = secrets.token_hex(16)
        self._session = session
        self._binary = binary

    def member(self, name: str, lines: Sequence[str]) -> GroupMember:
        """As `RedisServers.member`."""
        return _RedisMember(
            self._session, binary=self._binary, name=name, password=self.password, lines=lines
        )

    def sentinel(self, name: str, lines: Sequence[str]) -> GroupMember:
        """As `RedisServers.sentinel`."""
        return _Sentinel(self._session, binary=self._binary, name=name, password=self.password, lines=lines)


class _RedisMember(LocalRedis):
    """The primary or a replica."""

    def prepare(self) -> None:
        """Find the binary and write the configuration; raises `EnvironmentUnavailable`."""
        # The server replaces its configuration, which has the password, by a file that others could read.
        self.home.chmod(0o700)
        super().prepare()


class _Sentinel(LocalRedis):
    """One Sentinel."""

    def prepare(self) -> None:
        """Find the binary and write the configuration; raises `EnvironmentUnavailable`."""
        self.home.chmod(0o700)
        self._configure(*self._lines)

    def command(self) -> list[str]:
        """The command that runs the server as a Sentinel."""
        return [*super().command(), "--sentinel"]


def local_pair(session: Session, *, binaries: Path | None = None) -> PostgresWithStandby:
    """A primary and a standby in folders of the session."""
    password = secrets.token_hex(16)
    first = _PostgresMember(session, binaries=binaries, name="postgres", password=password, source=None)
    second = _PostgresMember(session, binaries=binaries, name="postgres-2", password=password, source=first)
    return PostgresWithStandby(first, second)


class _PostgresMember(LocalPostgres, AskedPostgres):
    """The primary, or the standby: a copy of `source` that follows it."""

    programs = ("initdb", "postgres", "pg_basebackup")
    settings = MEMBER_SETTINGS

    def __init__(
        self,
        session: Session,
        *,
        binaries: Path | None,
        name: str,
        password: str,
        source: _PostgresMember | None,
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
            self._copy(self._source)

    def rejoin(self, source: GroupMember) -> None:
        """Start this server again as the standby of `source`; returns once it answers."""
        self.kill()
        self._copy(source)
        self.restart()

    def _copy(self, source: GroupMember) -> None:
        """Replace the data of this server, which is not running, by a copy of `source` that will follow it."""
        if self._data.exists():
            reaper.release_shared_memory(self.home, "data/postmaster.pid")
            shutil.rmtree(self._data)
        # In a file, because every user of the machine can read the arguments of a process.
        passwords = self.home / "pgpass"
        make_private(passwords, f"{LOOPBACK}:*:*:*:{self._password}\n")
        self._change_owner(passwords)
        place = f"host={LOOPBACK} port={source.port} user={self.user} passfile={passwords}"
        self._run("pg_basebackup", f"--pgdata={self._data}", f"--dbname={place}", *COPY_OPTIONS)
