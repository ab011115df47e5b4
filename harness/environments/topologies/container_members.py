"""The servers of the topologies in containers with one network: each has a port of 127.0.0.1 for all others.

A container without a server, the pod, has the network and publishes its ports on the loopback address of this machine,
under the same numbers. So the addresses that servers announce to one another are also those by which clients find them.
The network stays when servers are killed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.environments import ports
from harness.environments.base import Service
from harness.environments.container_server import (
    REDIS_OPTIONS,
    USER,
    ContainerServer,
    ContainerSpec,
    postgres_server,
)
from harness.environments.session import Session
from harness.environments.topologies import pgbouncer
from harness.environments.topologies.group import GroupMember
from harness.environments.topologies.postgres_standby import (
    COPY_OPTIONS,
    MEMBER_SETTINGS,
    AskedPostgres,
    PostgresWithStandby,
)

# The configuration is kept, since the server writes into it. The folder is that of the data in each image of Redis.
_REDIS = (
    'umask 077; file=/data/harness.conf; [ -e "$file" ] || printenv CONFIGURATION >"$file"; '
    'unset CONFIGURATION; exec redis-server "$file" "$@"'
)
# An image has the programs of the server on its path, or where Debian's package has them.
_STANDBY = (
    'PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"; mkdir -p "$PGDATA"; chmod 700 "$PGDATA"; '
    '[ -s "$PGDATA/PG_VERSION" ] || pg_basebackup --pgdata="$PGDATA" --dbname="$SOURCE" '
    f"{' '.join(COPY_OPTIONS)}; "
    'unset PGPASSWORD; exec postgres -D "$PGDATA" "$@"'
)
_USERS = "/tmp/users"  # noqa: S108 - inside a container that has this server alone
_PGBOUNCER = (
    f"umask 077; printenv USERS >{_USERS}; "
    "printenv CONFIGURATION >/tmp/pgbouncer.ini; "
    "unset USERS CONFIGURATION; exec pgbouncer /tmp/pgbouncer.ini"
)


class Pod(ContainerServer):
    """A container that does nothing; its network has `size` ports, each of which one server takes."""

    def __init__(self, service: Service, image: str, session: Session, *, size: int) -> None:
        spec = ContainerSpec(
            service=service, port=0, stop_signal="SIGKILL", script="exec sleep infinity", user="root"
        )
        super().__init__(spec, image, session)
        self._size = size
        self._free: list[int] = []

    def choose_ports(self) -> Mapping[int, int]:
        """Other ports than those that were taken."""
        chosen: set[int] = set()
        while len(chosen) < self._size:
            chosen.add(ports.free_port())
        self._free = sorted(chosen)
        return {port: port for port in chosen}

    def take_port(self) -> int:
        """A port for one server."""
        return self._free.pop()

    @property
    def network(self) -> str:
        """The network that a container of the pod joins."""
        return f"container:{self._container.id}"


class PodServer(ContainerServer):
    """A server in the network of a pod."""

    def __init__(self, spec: ContainerSpec, image: str, session: Session, pod: Pod) -> None:
        super().__init__(spec, image, session)
        self.port = spec.port
        self._pod = pod

    def begin(self) -> None:
        """Create and start the container."""
        with self._engine_errors("start"):
            self._start_container({}, network_mode=self._pod.network)


class PodRedisServers:
    """Redis servers in a pod."""

    def __init__(self, image: str, session: Session, pod: Pod) -> None:
        self.password = secrets.token_hex(16)
        self._image, self._session, self._pod = image, session, pod

    def member(self, name: str, lines: Sequence[str]) -> GroupMember:
        """As `RedisServers.member`."""
        return self._server(lines, *REDIS_OPTIONS)

    def sentinel(self, name: str, lines: Sequence[str]) -> GroupMember:
        """As `RedisServers.sentinel`."""
        return self._server(lines, "--sentinel")

    def _server(self, lines: Sequence[str], *command: str) -> GroupMember:
        port = self._pod.take_port()
        own = ("bind 0.0.0.0", f"port {port}", "dir /data", f"requirepass {self.password}")
        spec = ContainerSpec(
            service="redis",
            port=port,
            stop_signal="SIGTERM",
            url=f"redis://:{self.password}@{ports.LOOPBACK}:{{port}}/0",
            environment={"CONFIGURATION": "\n".join([*own, *lines])},
            command=command,
            script=_REDIS,
        )
        return PodServer(spec, self._image, self._session, self._pod)


class _PostgresMember(PodServer, AskedPostgres):
    """The primary, or the standby: a copy of the server at `source` that follows it."""

    def __init__(
        self,
        image: str,
        session: Session,
        pod: Pod,
        *,
        port: int,
        password: str,
        source: int | None,
        settings: Mapping[str, str] = MEMBER_SETTINGS,
    ) -> None:
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        options += ["-c", f"port={port}"]
        super().__init__(postgres_server(port, password, *options), image, session, pod)
        self._password = password
        if source is not None:
            self._follow(source)

    def rejoin(self, source: GroupMember) -> None:
        """Start a new container in place of this one, as the standby of `source`; returns once it answers."""
        with self._engine_errors("replace"):
            self._container.remove(force=True, v=True)
        self._follow(source.port)
        self.begin()
        self.finish()

    def _follow(self, source: int) -> None:
        self._spec = replace(
            self._spec,
            environment={
                "SOURCE": f"host={ports.LOOPBACK} port={source} user={USER}",
                "PGPASSWORD": self._password,
            },
            command=[*self._spec.command, "-c", "listen_addresses=*", "-c", "unix_socket_directories="],
            script=_STANDBY,
            user="postgres",
        )


def pod_postgres(image: str, session: Session, pod: Pod) -> PodServer:
    """A Postgres in a pod, with the durability of a single one."""
    return _PostgresMember(
        image, session, pod, port=pod.take_port(), password=secrets.token_hex(16), source=None, settings={}
    )


def pod_pair(image: str, session: Session, pod: Pod) -> PostgresWithStandby:
    """A primary and a standby in a pod."""
    password, first, second = secrets.token_hex(16), pod.take_port(), pod.take_port()
    return PostgresWithStandby(
        _PostgresMember(image, session, pod, port=first, password=password, source=None),
        _PostgresMember(image, session, pod, port=second, password=password, source=first),
    )


class PodPgbouncer(PodServer):
    """PgBouncer in the pod of its Postgres."""

    def __init__(self, image: str, session: Session, pod: Pod, *, database_url: str) -> None:
        port = pod.take_port()
        text = pgbouncer.configuration(database_url, listen_addr="*", listen_port=port, auth_file=_USERS)
        spec = ContainerSpec(
            service="pgbouncer",
            port=port,
            stop_signal="SIGINT",
            url=pgbouncer.behind(f"{ports.LOOPBACK}:{{port}}", database_url),
            environment={"CONFIGURATION": text, "USERS": pgbouncer.users(database_url)},
            script=_PGBOUNCER,
            # A user that each image has: PgBouncer does not run as root.
            user="65534",
        )
        super().__init__(spec, image, session, pod)

    def ask(self, service: Service, url: str) -> str:
        """The version of the pooler, once it leads to the database."""
        pgbouncer.require_answer(url)
        return pgbouncer.version_in(self._run("pgbouncer", "--version")[1])
