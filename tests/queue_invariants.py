"""Invariant I2 of the queue, read from the server behind the queue's back."""

from __future__ import annotations

from typing import Any

import redis

from agentexec.redis_queue import RedisQueue


def require_consistent(queue: RedisQueue) -> None:
    """Every known task is in exactly one place, and the three books on who holds it agree; AssertionError where not."""
    client, keys = queue.client, queue.keys
    places: dict[str, list[Any]] = {
        **{ready: client.lrange(ready, 0, -1) for ready in keys.ready},
        **{zset: client.zrange(zset, 0, -1) for zset in (keys.sched, keys.lease, keys.dlq)},
    }
    waiting: list[Any] = client.zrange(keys.parked, 0, -1)
    parked = [member.split(b"|", 2) for member in waiting]
    places[keys.parked] = [task for _, _, task in parked]
    members = [member for place in places.values() for member in place]
    assert len(members) == len(set(members)), f"a task is in two places: {places}"
    known = set(client.hkeys(keys.job))
    assert set(members) == known, f"places hold {set(members)}, the queue knows {known}"
    own: dict[Any, Any] = client.hgetall(keys.own)
    assert set(own) == set(places[keys.lease]), f"own {own} and lease {places[keys.lease]} differ"
    held = {owner.partition(b"|")[2] + b"|" + task for task, owner in own.items()}
    assert set(client.zrange(keys.held, 0, -1)) == held, f"held differs from own {own}"
    assert set(client.hkeys(keys.reason)) == set(places[keys.dlq]), (
        "reasons are not those of the dead letters"
    )
    assert set(client.hkeys(keys.crash)) <= known, "crashes are counted of a task that is gone"
    assert set(client.hkeys(keys.cancel)) <= known, "a task that is gone is to be cancelled"
    partitions: dict[Any, Any] = client.hgetall(keys.part)
    heads: dict[Any, Any] = client.hgetall(keys.busy)
    assert all(partitions.get(task) == partition for partition, _, task in parked), (
        f"parked elsewhere: {parked}"
    )
    assert all(partitions.get(task) == partition for partition, task in heads.items()), (
        f"heads of others: {heads}"
    )
    assert {partition for partition, _, _ in parked} <= set(heads), "a task waits behind nobody"
    locked = [partitions[task] for task in places[keys.lease] if task in partitions]
    assert len(locked) == len(set(locked)), "two holders in one partition"


def contents(queue: RedisQueue) -> dict[str, object]:
    """Everything the queue holds, to be compared before and after what must change nothing."""
    return {key: _value(queue.client, key) for key in queue.keys.all()}


def _value(client: redis.Redis, key: str) -> object:
    match client.type(key):
        case b"hash":
            return client.hgetall(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case _:
            return client.get(key)
