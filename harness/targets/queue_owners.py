"""What a queue holds without an owner: nothing would ever use or remove it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any
from uuid import UUID

import redis

from agentexec.queue.keys import QueueKeys, result_key

# `{queue}:rate` counts the requests of an API, and `limits` gives each of its keys an end.
RATE = "rate"
# Of what each key that names tasks has to know the owner, and the same for workers.
OF_TASKS = (
    "lease", "holder", "sched", "dlq", "reason", "crash", "suspect", "alone", "unknown", "cancel", "part", "busy",
    "parked", "ready",
)  # fmt: skip
OF_WORKERS = ("workers", "last")


def orphans(owned: Mapping[str, Iterable[Any]], *, tasks: Iterable[Any], workers: Iterable[str]) -> list[str]:
    """What the named parts of a queue hold for tasks or workers that the queue does not know, a name each."""
    known_tasks, known_workers = set(tasks), set(workers)
    return sorted(
        f"{part} {one}"
        for part, owners in owned.items()
        for one in set(owners) - (known_workers if part in OF_WORKERS else known_tasks)
    )


def redis_orphans(client: redis.Redis, keys: QueueKeys, recorded: Iterable[UUID]) -> list[str]:
    """The orphans of a queue in Redis, its unknown keys, and results of the recorded tasks that would never end."""
    return [*_without_owner(client, keys), *_unknown_keys(client, keys), *_endless(client, recorded)]


def _without_owner(client: redis.Redis, keys: QueueKeys) -> list[str]:
    pipe = client.pipeline(transaction=True)
    hashes = ("job", "holder", "reason", "crash", "suspect", "unknown", "cancel", "part", "workers", "last")
    for name in hashes:
        pipe.hkeys(getattr(keys, name))
    sets = ("lease", "sched", "dlq", "alone", "seen")
    for name in sets:
        pipe.zrange(getattr(keys, name), 0, -1)
    pipe.hvals(keys.busy)
    pipe.zrange(keys.parked, 0, -1)
    for ready in keys.ready:
        pipe.lrange(ready, 0, -1)
    answers = [[_text(one) for one in answer] for answer in pipe.execute()]
    found = dict(zip((*hashes, *sets, "busy", "parked"), answers, strict=False))
    found["ready"] = list(chain(*answers[len(found) :]))
    found["parked"] = [member.rpartition("|")[2] for member in found["parked"]]
    tasks, workers = found.pop("job"), found.pop("seen")
    return orphans(found, tasks=tasks, workers=workers)


def _unknown_keys(client: redis.Redis, keys: QueueKeys) -> Iterator[str]:
    prefix = keys.job.removesuffix("job")
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
    for key in map(_text, client.scan_iter(pattern, count=1000)):
        if key not in keys.all() and not key.startswith(prefix + RATE):
            yield f"key {key}"


def _endless(client: redis.Redis, recorded: Iterable[UUID]) -> Iterator[str]:
    names = [result_key(task_id) for task_id in recorded]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.ttl(name)
    for name, seconds in zip(names, pipe.execute(), strict=True):
        if seconds == -1:
            yield f"endless {name}"


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
