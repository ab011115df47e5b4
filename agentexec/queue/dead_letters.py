"""Dead letters: tasks that the queue gave up, with the reason, kept with their payload until an operator decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agentexec.errors import InvalidTask
from agentexec.queue.redis_queue import RedisQueue
from agentexec.task import Priority, decode_payload

PAGE = 500
_HEX = "hex:"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One task that the queue gave up.

    `task_name` and `context` are None where the payload cannot be read. `task_id` is the activity's id, or whatever was
    pushed into the queue in its place; an id that cannot be printed is written as `hex:` and its bytes.
    """

    task_id: str
    reason: str
    died_at: datetime
    payload: bytes
    level: int
    task_name: str | None = None
    context: Mapping[str, Any] | None = None


class DeadLetters:
    """The dead letters of one queue. Methods raise `redis.exceptions.RedisError`."""

    def __init__(self, queue: RedisQueue) -> None:
        self._redis = queue.client
        self._keys = queue.keys

    def count(self) -> int:
        """The number of dead letters."""
        return int(self._redis.zcard(self._keys.dlq))

    def page(self, *, offset: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Up to `limit` of them, the latest first."""
        last = offset + limit - 1
        found: Any = self._redis.zrange(self._keys.dlq, offset, last, desc=True, withscores=True)
        return self._read([(member, float(score)) for member, score in found])

    def get(self, task_id: UUID | str) -> DeadLetter | None:
        """The dead letter of this task, or None."""
        key = _key(task_id)
        died = self._redis.zscore(self._keys.dlq, key)
        return None if died is None else self._read([(key, float(died))])[0]

    def all(self) -> Iterator[DeadLetter]:
        """All of them, the latest first, read in pages. Removing some meanwhile may hide others."""
        offset = 0
        while found := self.page(offset=offset, limit=PAGE):
            yield from found
            offset += len(found)

    def purge(self, task_ids: Iterable[UUID | str]) -> int:
        """Delete dead letters; returns how many of these there were. Their activities stay in the record."""
        ids = [_key(task_id) for task_id in task_ids]
        return sum(self._purge_page(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE))

    def purge_all(self) -> int:
        """Delete all of them; returns how many there were."""
        return self.purge([letter.task_id for letter in self.all()])

    def _purge_page(self, ids: Sequence[bytes]) -> int:
        keys = self._keys
        members: list[Any] = list(ids)  # redis-py's types know text only; it sends bytes as they are
        died: Any = self._redis.zmscore(keys.dlq, members)
        # Only dead letters: the job of a live task must stay. A dead letter never runs again under its own id.
        ids = [i for i, score in zip(ids, died, strict=True) if score is not None]
        if not ids:
            return 0
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrem(keys.dlq, *ids)
        for hashes in (keys.reason, keys.job, keys.crash, keys.suspect, keys.cancel):
            pipe.hdel(hashes, *ids)
        return int(pipe.execute()[0])

    def _read(self, found: Sequence[tuple[bytes, float]]) -> list[DeadLetter]:
        if not found:
            return []
        ids = [task_id for task_id, _ in found]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(self._keys.reason, ids)
        pipe.hmget(self._keys.job, ids)
        rows = zip(found, *pipe.execute(), strict=True)
        return [
            _letter(_shown(task_id), died, reason or b"", job or b"") for (task_id, died), reason, job in rows
        ]


def _letter(task_id: str, died: float, reason: bytes, job: bytes) -> DeadLetter:
    digit, payload = job[:1], job[1:]
    name: str | None = None
    context: Mapping[str, Any] | None = None
    with suppress(InvalidTask):
        name, context = decode_payload(payload)
    return DeadLetter(
        task_id=task_id,
        reason=reason.decode("utf-8", "backslashreplace"),
        died_at=datetime.fromtimestamp(died / 1000, UTC),
        payload=payload,
        level=int(digit) if digit.isdigit() else Priority.LOW.level,
        task_name=name,
        context=context,
    )


def _shown(key: bytes) -> str:
    """A printable name of the dead letter under this key; no other key has it."""
    text = key.decode("utf-8", "replace")
    plain = bool(text) and text.isprintable() and text.encode() == key and not text.startswith(_HEX)
    return text if plain else _HEX + key.hex()


def _key(shown: UUID | str) -> bytes:
    """The key of a dead letter with this name; a malformed name gives a key that no dead letter has."""
    text = str(shown)
    with suppress(ValueError):
        return bytes.fromhex(text.removeprefix(_HEX)) if text.startswith(_HEX) else text.encode()
    return text.encode("utf-8", "replace")
