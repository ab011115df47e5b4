"""Mistakes in Redis."""

from __future__ import annotations

from harness.environments.ports import LOOPBACK
from tests.mistakes.clinic import Clinic
from tests.mistakes.mistake import FAIL, WARN, Mistake, config, key, unanswered


def evict(clinic: Clinic) -> None:
    """Let Redis evict a key that has an expiry, and nothing of the queue, which has none here."""
    server = clinic.server
    server.config_set("maxmemory-policy", "volatile-lru")
    server.set("result:1", b"x" * 2_000_000, ex=1000)
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) - 1_000_000)
    server.exists("result:1")
    server.config_set("maxmemory", "256mb")
    server.config_set("maxmemory-policy", "noeviction")
    assert server.info("stats")["evicted_keys"] == 1


def slow_command(clinic: Clinic) -> None:
    clinic.send("EVAL", "local start = os.clock() while os.clock() - start < 0.11 do end", "0")


MISTAKES = (
    Mistake(id="redis.maxmemory-policy", grade=FAIL, make=config("maxmemory-policy", "allkeys-lru")),
    Mistake(id="redis.maxmemory-policy", grade=WARN, make=config("maxmemory-policy", "volatile-lru")),
    Mistake(id="redis.persistence", grade=FAIL, make=config("appendonly", "no")),
    Mistake(id="redis.appendfsync", grade=WARN, make=config("appendfsync", "no")),
    Mistake(id="redis.maxmemory", grade=WARN, make=config("maxmemory", "0")),
    Mistake(
        id="redis.headroom",
        grade=WARN,
        make=lambda c: unanswered(
            c.server.config_set("maxmemory", int(c.server.info("memory")["used_memory"] / 0.87))
        ),
        repair=config("maxmemory", "256mb"),
    ),
    Mistake(
        id="redis.evicted-keys",
        grade=WARN,
        make=evict,
        repair=lambda c: unanswered(c.server.config_resetstat()),
    ),
    Mistake(
        id="redis.password",
        grade=FAIL,
        make=config("requirepass", ""),
        repair=lambda clinic: unanswered(clinic.server.config_set("requirepass", clinic.login)),
    ),
    Mistake(id="redis.protected-mode", grade=WARN, make=config("protected-mode", "no")),
    Mistake(id="redis.idle-timeout", grade=WARN, make=config("timeout", "30")),
    Mistake(id="redis.tcp-keepalive", grade=WARN, make=config("tcp-keepalive", "0")),
    Mistake(id="redis.maxclients", grade=FAIL, make=config("maxclients", "100")),
    key("redis.replication", FAIL, lambda s: s.replicaof(LOOPBACK, 1), lambda s: s.replicaof("NO", "ONE")),
    Mistake(
        id="redis.slow-commands", grade=WARN, make=slow_command, repair=lambda c: c.send("SLOWLOG", "RESET")
    ),
    key(
        "redis.shared",
        WARN,
        lambda s: s.set("session:of-another", 1),
        lambda s: s.delete("session:of-another"),
    ),
)
