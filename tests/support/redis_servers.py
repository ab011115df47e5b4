"""Redis as in production, on loopback: a master with a replica and Sentinels, and a server with TLS."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError

from harness.environments.ports import LOOPBACK, free_port
from harness.environments.session import Session
from tests.support.production import wait_for

PASSWORD, SENTINEL_PASSWORD, SERVICE = "of-the-master", "of-the-sentinels", "mymaster"


@dataclass(kw_only=True)
class Servers:
    """Servers of one program in one session, which ends them also when this process is killed."""

    session: Session
    binary: Path
    certificates: Path | None = None
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        return "rediss" if self.certificates else "redis"

    @property
    def trust(self) -> str:
        """The URL parameters with which a client accepts the certificate."""
        return f"ssl_ca_certs={self.certificates}/ca.pem" if self.certificates else ""

    def start(self, *lines: str, sentinel: bool = False) -> int:
        """Start a server with these lines of configuration; returns its port once it answers."""
        port = free_port()
        home = self.session.folder / f"server-{port}"
        home.mkdir()
        configuration = home / "server.conf"
        keeps = () if sentinel else ('save ""',)
        configuration.write_text(
            "\n".join([f"bind {LOOPBACK}", f"dir {home}", *keeps, *self._listening(port), *lines, ""])
        )
        command = [str(self.binary), str(configuration), *(["--sentinel"] if sentinel else [])]
        with (home / "log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                command, cwd=home, env=self.session.environment(), stdout=log, stderr=log
            )
        password = SENTINEL_PASSWORD if sentinel else PASSWORD
        with self.client(port, password) as client:
            wait_for(lambda: _answers(client) or self.processes[port].poll() is not None)
        assert self.processes[port].poll() is None, (home / "log").read_text()
        return port

    def client(self, port: int, password: str) -> redis.Redis:
        return redis.Redis.from_url(f"{self.scheme}://:{password}@{LOOPBACK}:{port}/0?{self.trust}")

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.session.close()

    def _listening(self, port: int) -> Sequence[str]:
        if self.certificates is None:
            return [f"port {port}"]
        return [
            "port 0",
            f"tls-port {port}",
            "tls-replication yes",
            "tls-auth-clients no",
            f"tls-cert-file {self.certificates}/server.pem",
            f"tls-key-file {self.certificates}/server.key",
            f"tls-ca-cert-file {self.certificates}/ca.pem",
        ]


@contextlib.contextmanager
def servers(binary: Path, certificates: Path | None = None) -> Iterator[Servers]:
    """No server yet; all of them are gone afterwards."""
    with contextlib.closing(
        Servers(session=Session.open(), binary=binary, certificates=certificates)
    ) as started:
        yield started


@dataclass(frozen=True, kw_only=True)
class Replicated:
    """A master and a replica, watched by Sentinels."""

    servers: Servers
    master: int
    replica: int
    sentinels: Sequence[int]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.sentinels)
        options = "&".join(filter(None, [f"sentinel_password={SENTINEL_PASSWORD}", self.servers.trust]))
        return f"{self.servers.scheme}+sentinel://:{PASSWORD}@{hosts}/{SERVICE}/0?{options}"


def replicated(servers: Servers, *, sentinels: int = 3) -> Replicated:
    """Start it all; returns when the replica is in step and the Sentinels know each other."""
    common = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0")
    master = servers.start(*common)
    replica = servers.start(*common, f"replicaof {LOOPBACK} {master}")
    quorum = sentinels // 2 + 1
    watchers = [
        servers.start(
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
            f"sentinel monitor {SERVICE} {LOOPBACK} {master} {quorum}",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 10000",
            sentinel=True,
        )
        for _ in range(sentinels)
    ]
    for port in watchers:
        with servers.client(port, SENTINEL_PASSWORD) as client:
            wait_for(partial(_complete, client, sentinels))
    return Replicated(servers=servers, master=master, replica=replica, sentinels=watchers)


def make_certificates(folder: Path, openssl: Path) -> Path:
    """An authority (ca.pem) and what it signed for 127.0.0.1 (server.pem, server.key)."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    (folder / "names").write_text(f"subjectAltName=IP:{LOOPBACK}")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    for arguments in (
        ("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=tests"),
        ("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"),
        ("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem", "-days", "2"),
    ):
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)
    return folder


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def _complete(client: redis.Redis, sentinels: int) -> bool:
    state: Any = client.sentinel_master(SERVICE)
    replicas: Any = client.sentinel_slaves(SERVICE)
    return (
        state["num-other-sentinels"] == sentinels - 1
        and len(replicas) == 1
        and replicas[0]["master-link-status"] == "ok"
    )
