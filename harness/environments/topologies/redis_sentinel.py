"""Redis behind Sentinels: a primary with two replicas, watched by three Sentinels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar, cast

from harness.environments.base import Service
from harness.environments.ports import LOOPBACK
from harness.environments.redis_connection import RedisConnection, RedisFailure
from harness.environments.topologies.group import GroupMember, ServerGroup
from harness.errors import UsageError

_PRIMARY = "mymaster"
_REPLICAS, _SENTINELS = 2, 3
_ANSWER_SECONDS = 1.0
# A primary that is silent for this long is replaced. Sentinel does not try again before twice its time-out.
_DOWN_AFTER_MS, _FAILOVER_TIMEOUT_MS = 1000, 3000
# By default, Sentinel waits for 8 s before it demotes an old primary that came back: four times the period in which
# Sentinels tell one another what they know.
_PERIODS = ("publish-period", 250, "info-period", 500, "ping-period", 250, "ask-period", 250)
# The commands by which a replica follows: without the right to them, it receives nothing. A restart gives it back.
_NO_REPLICAS = ("-psync", "-sync")

AnswerT = TypeVar("AnswerT")


class RedisServers(Protocol):
    """Makes the servers of the group, as processes or in containers; all have the same `password`."""

    password: str

    def member(self, name: str, lines: Sequence[str]) -> GroupMember:
        """A server that keeps data, with further lines of its configuration, in which Sentinel writes its role."""
        ...

    def sentinel(self, name: str, lines: Sequence[str]) -> GroupMember:
        """A Sentinel with these lines in its configuration; it adds what it learns."""
        ...


class RedisBehindSentinels(ServerGroup):
    """A primary, two replicas and three Sentinels; clients ask a Sentinel for the primary."""

    service: Service = "redis"
    size = 1 + _REPLICAS + _SENTINELS
    """How many servers there are."""

    def __init__(self, servers: RedisServers) -> None:
        self._make = servers
        self._servers = [self._member("redis")]
        self._sentinels: list[GroupMember] = []
        self._lost: GroupMember | None = None
        self._is_frozen = False

    @property
    def members(self) -> Sequence[GroupMember]:
        """The servers, then the Sentinels."""
        return [*self._servers, *self._sentinels]

    @property
    def url(self) -> str:
        """The Sentinels with the name of the primary, as agentexec reads it."""
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self._sentinels)
        password = self._make.password
        return f"redis+sentinel://:{password}@{hosts}/{_PRIMARY}/0?sentinel_password={password}"

    @property
    def version(self) -> str:
        """As the servers report it, and how many there are."""
        return f"{self._servers[0].version} with {_REPLICAS} replicas and {_SENTINELS} Sentinels"

    def begin(self) -> None:
        """Launch the primary."""
        self._servers[0].begin()

    def finish(self) -> None:
        """Start replicas and Sentinels; returns once the replicas are in step and all Sentinels know all others."""
        self._servers[0].finish()
        port = self._servers[0].port
        replicas = [
            self._member(f"redis-{number}", f"replicaof {LOOPBACK} {port}")
            for number in range(2, _REPLICAS + 2)
        ]
        self._servers += replicas
        self._sentinels = [self._sentinel(number, port) for number in range(1, _SENTINELS + 1)]
        started = [*replicas, *self._sentinels]
        for server in started:
            server.begin()
        for server in started:
            server.finish()
        for sentinel in self._sentinels:
            with _connected(sentinel) as asked:
                asked.call("SENTINEL", "DEBUG", *_PERIODS)
        self._wait_until_in_step()

    def fail_over(self, *, lag: float = 0.0, frozen: bool = False) -> None:
        """SIGKILL or freeze the primary; returns once all Sentinels name another one, which accepts writes."""
        if lag and frozen:
            raise UsageError("The replicas of a frozen primary do not lag. Leave `lag` or `frozen` out.")
        lost = self.wait_for("all Sentinels name one primary", self._primary)
        # From here on it has to come back, however far this comes.
        self._lost, self._is_frozen = lost, frozen
        if lag:
            with _connected(lost) as asked:
                asked.call("ACL", "SETUSER", "default", *_NO_REPLICAS)
                asked.call("CLIENT", "KILL", "TYPE", "REPLICA")
            time.sleep(lag)
        if frozen:
            lost.pause()
        else:
            lost.kill()
        self.wait_for("all Sentinels name a new primary", lambda: self._primary() not in (None, lost))

    def rejoin(self) -> None:
        """Start or resume the lost server, which Sentinel makes a replica; returns once all are in step."""
        lost, self._lost = self._lost, None
        if lost is not None:
            if self._is_frozen:
                lost.resume()
            else:
                lost.restart()
            self._wait_until_in_step()

    def _member(self, name: str, *lines: str) -> GroupMember:
        return self._make.member(
            name, [f"masterauth {self._make.password}", "repl-diskless-sync-delay 0", *lines]
        )

    def _sentinel(self, number: int, port: int) -> GroupMember:
        password, quorum = self._make.password, _SENTINELS // 2 + 1
        return self._make.sentinel(
            f"sentinel-{number}",
            [
                f"sentinel sentinel-pass {password}",
                f"sentinel monitor {_PRIMARY} {LOOPBACK} {port} {quorum}",
                f"sentinel auth-pass {_PRIMARY} {password}",
                f"sentinel down-after-milliseconds {_PRIMARY} {_DOWN_AFTER_MS}",
                f"sentinel failover-timeout {_PRIMARY} {_FAILOVER_TIMEOUT_MS}",
            ],
        )

    def _primary(self) -> GroupMember | None:
        """The server that all Sentinels name and that says so itself; None while they do not agree."""
        named = {_answer(sentinel, self._port_of_primary) for sentinel in self._sentinels}
        found = [server for server in self._servers if {server.port} == named]
        return found[0] if found and _answer(found[0], _role) == b"master" else None

    @staticmethod
    def _port_of_primary(sentinel: RedisConnection) -> int:
        answer = cast("list[bytes]", sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _PRIMARY))
        return int(answer[1])

    def _wait_until_in_step(self) -> None:
        self.wait_for("two replicas are in step with the primary", self._in_step)
        for sentinel in self._sentinels:
            self.wait_for("each Sentinel knows all others", partial(_answer, sentinel, _knows_all))

    def _in_step(self) -> bool:
        primary = self._primary()
        if primary is None:
            return False
        replicas = [server for server in self._servers if server is not primary]
        linked = [f"slave{number}" for number in range(_REPLICAS)]
        info = _answer(primary, lambda asked: asked.info("replication")) or {}
        return all("state=online" in info.get(name, "") for name in linked) and all(
            _answer(replica, lambda asked: _follows(asked, primary.port)) for replica in replicas
        )


def _connected(server: GroupMember) -> RedisConnection:
    return RedisConnection(server.url, timeout=_ANSWER_SECONDS)


def _answer(server: GroupMember, ask: Callable[[RedisConnection], AnswerT]) -> AnswerT | None:
    """What the server answers; None if it does not."""
    try:
        with _connected(server) as asked:
            return ask(asked)
    except RedisFailure:
        return None


def _role(asked: RedisConnection) -> bytes:
    return cast("list[bytes]", asked.call("ROLE"))[0]


def _follows(asked: RedisConnection, port: int) -> bool:
    info = asked.info("replication")
    wanted = {"role": "slave", "master_port": str(port), "master_link_status": "up"}
    return wanted.items() <= info.items()


def _knows_all(asked: RedisConnection) -> bool:
    """Whether a Sentinel sees the others, and both replicas as running ones that follow the primary."""
    state = _table(cast("list[bytes]", asked.call("SENTINEL", "MASTER", _PRIMARY)))
    replicas = [
        _table(one) for one in cast("list[list[bytes]]", asked.call("SENTINEL", "REPLICAS", _PRIMARY))
    ]
    return (
        state["num-other-sentinels"] == str(_SENTINELS - 1)
        and state["flags"] == "master"
        and len(replicas) == _REPLICAS
        and all(one["flags"] == "slave" and one["master-link-status"] == "ok" for one in replicas)
    )


def _table(words: Sequence[bytes]) -> dict[str, str]:
    texts = [word.decode() for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))
