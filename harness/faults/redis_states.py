"""States of Redis that operators meet: full, evicting, busy with a script, read-only, with another password."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from harness.environments.base import WATCHING, Endpoints, Service
from harness.environments.ports import LOOPBACK
from harness.environments.redis_connection import RedisConnection
from harness.environments.redis_watching import refused_while_watching
from harness.errors import GateError, HarnessError
from harness.faults.held_state import repeated, striking
from harness.faults.redis_memory import redis_of
from harness.history import InjectionKind
from harness.history.promises import Loss

# The least limit of memory: every write that needs memory is refused.
_NO_MEMORY_BYTES = 1
# Redis counts from this many milliseconds of a script on that it is busy, and then refuses other commands.
_BUSY_AFTER_MS = 50
# A port that no server listens on.
_NO_SERVER = 1
_REMEDY = "Run this fault on a target that uses Redis, with more tasks."
# `TIME` stands still within a script, and the processor time of the server does not. Redis 7.0 has no `os`, and its
# `TIME` goes on.
_SPIN = """local function now() return os.clock() end
if not pcall(now) then
    now = function() local time = redis.call('TIME') return time[1] + time[2] / 1000000 end
end
local since = now()
while now() - since < tonumber(ARGV[1]) do end
return 1"""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryFull:
    """`maxmemory` is reached under `noeviction`: Redis refuses what needs memory, and answers everything else."""

    name: str = "fill-redis"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.BROKER_FULL
    service: Service = "redis"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """`CONFIG SET` of both settings, and back to their values."""
        with (
            redis_of(endpoints) as redis,
            refusing(redis, "OOM"),
            _settings(redis, {"maxmemory-policy": "noeviction", "maxmemory": _NO_MEMORY_BYTES}),
        ):
            yield


@dataclass(frozen=True, kw_only=True, slots=True)
class Evicting:
    """`maxmemory` is reached under `allkeys-lru`: Redis removes keys that it has not used for the longest time.

    `kept` is the share of its data that may stay.
    """

    kept: float = 0.5
    name: str = "evict-redis"
    kind: InjectionKind = InjectionKind.DATA_LOSS
    loss: Loss = Loss.BROKER_EVICTS
    service: Service = "redis"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[dict[str, Any]]:
        """`CONFIG SET` of both settings, and back to their values; then gives how many keys were evicted."""
        with redis_of(endpoints) as redis:
            memory, before = redis.info("memory"), _evicted(redis)
            fixed = int(memory.get("used_memory_startup", 0))
            limit = fixed + max(1, int((int(memory["used_memory"]) - fixed) * self.kept))
            seen: dict[str, Any] = {}
            with _settings(redis, {"maxmemory-policy": "allkeys-lru", "maxmemory": limit}):
                yield seen
            seen["evicted_keys"] = _evicted(redis) - before
        if not seen["evicted_keys"]:
            raise GateError(f"Redis had nothing to strike: it evicted no key. {_REMEDY}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Busy:
    """Scripts occupy Redis, one after the other, each for `script_seconds`, with a pause between them.

    A script that is longer than `busy-reply-threshold` lets Redis answer BUSY to every command; during a shorter one
    all commands wait.
    """

    script_seconds: float = 0.5
    name: str = "occupy-redis"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.BROKER_BUSY
    service: Service = "redis"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """Run scripts until the end; the last one ends by itself."""
        with (
            redis_of(endpoints) as redis,
            refusing(redis, "BUSY"),
            _settings(redis, {"busy-reply-threshold": _BUSY_AFTER_MS}),
            repeated(lambda: redis.call("EVAL", _SPIN, 0, str(self.script_seconds))),
        ):
            yield


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientsKilled:
    """`CLIENT KILL` of every connection, again and again; Redis accepts new ones at once."""

    name: str = "kill-redis-clients"
    kind: InjectionKind = InjectionKind.DISCONNECT
    loss: Loss = Loss.BROKER_DISCONNECTS
    service: Service = "redis"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """Kill the connections until the end."""
        with redis_of(endpoints) as redis:
            with striking(lambda: _kill_clients(redis), f"no client was connected to Redis. {_REMEDY}"):
                yield


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOnlyReplica:
    """Redis is the replica of a master that is away, as in a failover: it refuses every write and keeps its data."""

    name: str = "demote-redis"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.BROKER_READ_ONLY
    service: Service = "redis"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """`REPLICAOF` a port without a server, and `REPLICAOF NO ONE`."""
        with redis_of(endpoints) as redis, refusing(redis, "READONLY"):
            redis.call("REPLICAOF", LOOPBACK, _NO_SERVER)
            try:
                yield
            finally:
                redis.call("REPLICAOF", "NO", "ONE")


@dataclass(frozen=True, kw_only=True, slots=True)
class PasswordChanged:
    """The password of Redis is another one than its clients have, and every connection has ended."""

    name: str = "rotate-redis-password"
    kind: InjectionKind = InjectionKind.DISCONNECT
    loss: Loss = Loss.BROKER_LOCKED_OUT
    service: Service = "redis"

    @contextmanager
    def held(self, endpoints: Endpoints) -> Iterator[None]:
        """`CONFIG SET requirepass`, and back to its value."""
        with (
            redis_of(endpoints) as redis,
            refusing(redis, "WRONGPASS", "NOAUTH"),
            _settings(redis, {"requirepass": secrets.token_hex(16)}),
        ):
            _kill_clients(redis)
            yield


@contextmanager
def _settings(redis: RedisConnection, values: Mapping[str, str | int]) -> Iterator[None]:
    """Settings with other values, and with their own again."""
    before = {name: _setting(redis, name) for name in values}
    try:
        for name, value in values.items():
            redis.call("CONFIG", "SET", name, value)
        yield
    finally:
        for name, was in reversed(before.items()):
            redis.call("CONFIG", "SET", name, was)


def _setting(redis: RedisConnection, name: str) -> bytes:
    value = redis.setting(name)
    if value is None:
        raise HarnessError(f"Redis has no setting {name}. This fault needs Redis 7 or Valkey.")
    return value


def _kill_clients(redis: RedisConnection) -> int:
    """End every connection but those of the harness itself; how many there were."""
    kinds = ("normal", "pubsub")
    lists = redis.calls([("CLIENT", "LIST", "TYPE", kind) for kind in kinds])
    clients = [
        dict(map(_field, line.split())) for one in lists for line in cast("bytes", one).decode().splitlines()
    ]
    ids = [client["id"] for client in clients if client.get("name") != WATCHING]
    # One that has ended meanwhile, and this one, count as none.
    answers = redis.calls([("CLIENT", "KILL", "ID", one, "SKIPME", "yes") for one in ids])
    return sum(answer for answer in answers if isinstance(answer, int))


def _field(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


@contextmanager
def refusing(redis: RedisConnection, *errors: str) -> Iterator[None]:
    """Raise `GateError` at the end if Redis has answered no client with one of these errors."""
    before = _refusals(redis, errors)
    yield
    if _refusals(redis, errors) <= before:
        raise GateError(f"Redis had nothing to strike: it refused no command. {_REMEDY}")


def _refusals(redis: RedisConnection, errors: Sequence[str]) -> int:
    """How often Redis has answered with these errors, but to the harness itself."""
    with refused_while_watching() as own:
        found = redis.info("errorstats")
        counts = {
            error: found.get(f"errorstat_{error}", "count=0").removeprefix("count=") for error in errors
        }
        return sum(int(count) - own.get(error, 0) for error, count in counts.items())


def _evicted(redis: RedisConnection) -> int:
    return int(redis.info("stats").get("evicted_keys", 0))
