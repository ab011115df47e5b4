"""Postgres with a streaming standby, which can be promoted. Clients reach both servers by one URL.

The standby is synchronous: a commit is acknowledged once the standby has it on disk too (`synchronous_commit` is `on`),
so that a promotion loses nothing. With an asynchronous standby (`synchronous_standby_names` is empty), or with
`synchronous_commit=local` or `off`, a promotion loses what the standby has not received, although it was acknowledged.

While a server is alone, it waits for no standby, as managers of clusters configure it unless they have to be
strict: a commit of that time is on one disk.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, LiteralString, Protocol
from urllib.parse import urlsplit

import psycopg

from harness.environments.base import WATCHING, Service
from harness.environments.ports import LOOPBACK
from harness.environments.topologies.group import GroupMember, ServerGroup
from harness.errors import EnvironmentUnavailable, UsageError, first_line

_ANY_STANDBY, _NO_STANDBY = "*", ""


# Faults kill processes and never the machine, so nothing has to be synced. A copy would sync each of its files when it
# starts. A standby tries to connect again this soon, instead of after 5 s.
MEMBER_SETTINGS: Mapping[str, str] = {"fsync": "off", "wal_retrieve_retry_interval": "200ms"}
COPY_OPTIONS = ("--checkpoint=fast", "--wal-method=stream", "--no-sync", "--write-recovery-conf")
"""How `pg_basebackup` makes a copy that follows its source."""


class PostgresMember(GroupMember, Protocol):
    """The primary, or the standby: a copy of the primary that follows it."""

    def rejoin(self, source: GroupMember) -> None:
        """Start this server again as a new copy of `source`; returns once it answers."""
        ...

    def ask_for(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """The rows of a query; raises `EnvironmentUnavailable`."""
        ...

    def set(self, name: LiteralString, value: LiteralString) -> None:
        """Change a setting; the server notices it a moment later."""
        ...


class AskedPostgres(ABC):
    """What each `PostgresMember` does in the same way."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of this server alone."""

    def ask_for(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """As `PostgresMember.ask_for`."""
        try:
            with closing(psycopg.connect(self.url, autocommit=True, application_name=WATCHING)) as connection:
                found = connection.execute(query)
                return found.fetchall() if found.description else []
        except psycopg.Error as error:
            raise EnvironmentUnavailable(
                f"Postgres did not carry out {query.split()[0]}: {first_line(error)}. See its log."
            ) from None

    def set(self, name: LiteralString, value: LiteralString) -> None:
        """As `PostgresMember.set`."""
        self.ask_for(f"ALTER SYSTEM SET {name} = '{value}'")
        self.ask_for("SELECT pg_reload_conf()")


class PostgresWithStandby(ServerGroup):
    """A primary with one synchronous standby."""

    service: Service = "postgres"
    size = 2
    """How many servers there are."""

    def __init__(self, primary: PostgresMember, standby: PostgresMember) -> None:
        self._pair = (primary, standby)
        self._primary, self._standby = primary, standby
        self._is_alone = False

    @property
    def members(self) -> Sequence[GroupMember]:
        """Both servers."""
        return self._pair

    @property
    def url(self) -> str:
        """Both servers; a client connects to the one that accepts writes."""
        hosts = ",".join(LOOPBACK for _ in self._pair)
        places = f"host={hosts}&port={','.join(str(one.port) for one in self._pair)}"
        login = urlsplit(self._primary.url).netloc.partition("@")[0]
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
        self._is_alone = True  # so that `rejoin` heals also what breaks off halfway
        if lag:
            lost.set("synchronous_standby_names", _NO_STANDBY)
            standby.set("primary_conninfo", "")
            self.wait_for("the standby receives nothing", lambda: not self._states())
            time.sleep(lag)
        lost.kill()
        self._primary, self._standby = standby, lost
        standby.set("synchronous_standby_names", _NO_STANDBY)
        standby.ask_for("SELECT pg_promote()")
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
