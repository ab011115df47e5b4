"""Makes a Redis keep what it has acknowledged, so that a crash of its process loses nothing."""

from __future__ import annotations

from harness.environments.redis_connection import RedisConnection

_TIMEOUT_SECONDS = 5.0


def write_acknowledged(url: str) -> None:
    """Have Redis write every acknowledged command to its append-only file, and from now on before it answers.

    With `appendfsync everysec`, Redis answers while a write to the file waits, for up to two seconds, for the end of an
    earlier sync: a SIGKILL then loses what was acknowledged. The setting lasts until Redis restarts. Raises
    `RedisFailure`.

    Source: `flushAppendOnlyFile` in aof.c of Redis 7 and Valkey 9.
    """
    with RedisConnection(url, timeout=_TIMEOUT_SECONDS) as redis:
        redis.call("CONFIG", "SET", "appendfsync", "always")
