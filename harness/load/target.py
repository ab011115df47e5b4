"""What a load may touch: the database, the Redis and the queues, each given by name and allowed by host.

No `.env` file decides: in the folder of an application it names the application's own servers and queue.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import shlex
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import agentexec as ax
from harness.environments.urls import checked_url, database_name, plain_url
from harness.errors import UsageError
from harness.load.files import read_load
from harness.masking import masked

_RUN = re.compile(r"load-\d{8}-\d{6}-[0-9a-f]{6}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadTarget:
    """The servers of a load; `make` checks the names and hosts."""

    database_url: str
    redis_url: str

    @classmethod
    def make(
        cls,
        *,
        database: str | None,
        host: str | None,
        variables: Mapping[str, str],
        allowed: Collection[str] = (),
    ) -> LoadTarget:
        """The target of these options and environment variables; raises `UsageError`.

        `database` is the name of the database, which has to be that of DATABASE_URL. `host` replaces REDIS_URL.
        `allowed` are the hosts other than this machine that may get load.
        """
        database_url = _given(variables, "DATABASE_URL")
        redis_url = host or _given(variables, "REDIS_URL")
        checked_url("postgres", plain_url(database_url), option="DATABASE_URL")
        checked_url("redis", redis_url, option="--host" if host else "REDIS_URL")
        name = database_name(plain_url(database_url))
        if database != name:
            given = "" if database is None else f", and not {masked(database)!r}"
            raise UsageError(
                f"This would put load on the database {name!r}{given}; "
                f"to allow it, give its name as --load-database {shlex.quote(name)}."
            )
        target = cls(database_url=database_url, redis_url=redis_url)
        for server in target.servers():
            if server not in allowed and not _is_loopback(server):
                raise UsageError(
                    f"This would put load on {server!r}, which is another machine; "
                    f"to allow it, add --allow-target {shlex.quote(server)}."
                )
        return target

    def servers(self) -> Iterator[str]:
        """The hosts of both servers; a socket of this machine has none."""
        for url in (self.database_url, self.redis_url):
            parts = urlsplit(url)
            hosts = [parts.hostname or "", *parse_qs(parts.query).get("host", [])]
            yield from (host for host in ",".join(hosts).split(",") if host and not host.startswith("/"))

    def client(self, queue: str) -> ax.Client:
        """A client of one queue, which takes no setting from a `.env` file."""
        settings = ax.Settings(
            _env_file=None,
            database_url=self.database_url,
            redis_url=self.redis_url,
            queue_name=queue,
        )
        return ax.Client(settings=settings)

    @property
    def described(self) -> str:
        """Both servers without passwords."""
        return f"{masked(self.database_url)} and {masked(self.redis_url)}"


def new_run() -> str:
    """The id of a new run, which begins with its time in UTC."""
    return f"load-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def checked_run(text: str) -> str:
    """The id of a run, given by itself, by its report folder or by its verdict.json; raises `UsageError`."""
    if _RUN.fullmatch(text):
        return text
    if (path := Path(text)).exists():
        found = str(read_load(path).get("facts", {}).get("run"))
        if _RUN.fullmatch(found):
            return found
    raise UsageError(
        f"{masked(text)!r} is no id of a load run and no report of one; an id looks like load-20260131-120000-0a1b2c, "
        "and verdict.json and the first line of a run have it."
    )


def _given(variables: Mapping[str, str], name: str) -> str:
    url = variables.get(name) or variables.get(f"HARNESS_{name}")
    if not url:
        raise UsageError(
            f"There is no {name}; set it as an environment variable (a .env file is not read)"
            + (", or give --host." if name == "REDIS_URL" else ".")
        )
    return url


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
