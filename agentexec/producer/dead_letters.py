"""Dead letters: tasks that the queue gave up, with the reason, to be looked at, run again, or thrown away.

A dead letter keeps its payload in Redis until somebody decides. Its activity is terminal (ERROR) and stays so:
running the task again means a new activity with the same task and context, whose metadata name the old one under
`requeued_from`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import RootModel
from sqlalchemy import select

from agentexec.errors import AgentexecError, InvalidTask
from agentexec.producer.client import Client
from agentexec.store.models import Activity
from agentexec.task import Priority, TaskRequest, decode_payload

PAGE = 500
REFERENCE = "requeued_from"
_HEX = "hex:"


class _Context(RootModel[dict[str, Any]]):
    """A context as it was recorded; the handler's own model checks it when it runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One task that the queue gave up.

    `task_name` and `context` are None where the payload cannot be read. `task_id` is the activity's id, or whatever
    was pushed into the queue in its place; what cannot be printed is written as `hex:` and its bytes.
    """

    task_id: str
    reason: str
    died_at: datetime
    payload: bytes
    level: int
    task_name: str | None = None
    context: Mapping[str, Any] | None = None


class DeadLetters:
    """The dead letters of one client's queue. Reads and writes raise what Redis and the database raise."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._keys = client.queue.keys

    def count(self) -> int:
        """How many there are."""
        return int(self._client.redis.zcard(self._keys.dlq))

    def page(self, *, offset: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Some of them, the latest first."""
        found: Any = self._client.redis.zrange(
            self._keys.dlq, offset, offset + limit - 1, desc=True, withscores=True
        )
        return self._read([(member, float(score)) for member, score in found])

    def get(self, task_id: UUID | str) -> DeadLetter | None:
        """The one of this task, or None."""
        key = _key(task_id)
        died = self._client.redis.zscore(self._keys.dlq, key)
        return None if died is None else self._read([(key, float(died))])[0]

    def all(self) -> Iterator[DeadLetter]:
        """All of them, the latest first, read in pages; those that leave meanwhile may hide others."""
        offset = 0
        while found := self.page(offset=offset, limit=PAGE):
            yield from found
            offset += len(found)

    def requeue(self, task_id: UUID | str) -> UUID:
        """Enqueue the task of a dead letter anew and remove the letter; returns the id of the new activity.

        Safe to repeat after a failure: the same letter gives the same new activity. Raises `AgentexecError` where
        there is no such letter, `InvalidTask` for a payload that cannot be read.
        """
        letter = self.get(task_id)
        if letter is None:
            raise AgentexecError(
                f"There is no dead letter {task_id}; `agentexec dlq list` shows those there are."
            )
        if letter.task_name is None or letter.context is None:
            raise InvalidTask(
                f"The payload of dead letter {letter.task_id} cannot be read, so it cannot run again; look at it with "
                "`agentexec dlq show`, then purge it."
            )
        metadata, lock_key = self._recorded(letter)
        request = TaskRequest(
            task_name=letter.task_name,
            context=_Context(dict(letter.context)),
            priority=_priority(letter.level),
            metadata=metadata | {REFERENCE: letter.task_id},
            lock_key=lock_key,
            idempotency_key=f"requeue:{self._client.queue.name}:{letter.task_id}"[:255],
        )
        task = self._client.enqueue_many_sync([request])[0]
        self.purge([letter.task_id])
        return task.agent_id

    def purge(self, task_ids: Iterable[UUID | str]) -> int:
        """Throw letters away for good; returns how many of these there were. Their activities stay in the record."""
        ids = [_key(task_id) for task_id in task_ids]
        purged = 0
        for start in range(0, len(ids), PAGE):
            purged += self._purge_page(ids[start : start + PAGE])
        return purged

    def purge_all(self) -> int:
        """Throw all of them away; returns how many that were."""
        return self.purge([letter.task_id for letter in self.all()])

    def _purge_page(self, ids: Sequence[bytes]) -> int:
        keys = self._keys
        members: list[Any] = list(ids)  # redis-py knows text only, and sends bytes as they are
        died: Any = self._client.redis.zmscore(keys.dlq, members)
        # Only what is dead: the job of a live task must stay. A letter never comes back to life under its own id.
        ids = [i for i, score in zip(ids, died, strict=True) if score is not None]
        if not ids:
            return 0
        pipe = self._client.redis.pipeline(transaction=True)
        pipe.zrem(keys.dlq, *ids)
        for hashes in (keys.reason, keys.job, keys.crash, keys.cancel):
            pipe.hdel(hashes, *ids)
        return int(pipe.execute()[0])

    def _read(self, found: Sequence[tuple[bytes, float]]) -> list[DeadLetter]:
        if not found:
            return []
        ids = [task_id for task_id, _ in found]
        pipe = self._client.redis.pipeline(transaction=False)
        pipe.hmget(self._keys.reason, ids)
        pipe.hmget(self._keys.job, ids)
        reasons, jobs = pipe.execute()
        return [
            _letter(_shown(task_id), died, reason, job)
            for (task_id, died), reason, job in zip(found, reasons, jobs, strict=True)
        ]

    def _recorded(self, letter: DeadLetter) -> tuple[dict[str, Any], str | None]:
        """Metadata and lock key of the old activity, if it is still in the record."""
        try:
            activity_id = UUID(letter.task_id)
        except ValueError:
            return {}, None
        with self._client.engine.connect() as connection:
            query = select(Activity.metadata_, Activity.lock_key).where(Activity.id == activity_id)
            row = connection.execute(query).one_or_none()
        metadata, lock_key = row or (None, None)
        return dict(metadata or {}), lock_key


def _letter(task_id: str, died: float, reason: bytes | str | None, job: bytes | str | None) -> DeadLetter:
    raw = job.encode() if isinstance(job, str) else job or b""
    digit, payload = raw[:1], raw[1:]
    name: str | None = None
    context: Mapping[str, Any] | None = None
    with suppress(InvalidTask):
        name, context = decode_payload(payload)
    return DeadLetter(
        task_id=task_id,
        reason=_text(reason or b""),
        died_at=datetime.fromtimestamp(died / 1000, UTC),
        payload=payload,
        level=int(digit) if digit.isdigit() else Priority.LOW.level,
        task_name=name,
        context=context,
    )


def _priority(level: int) -> Priority:
    return next((p for p in Priority if p.level == level), Priority.LOW)


def _shown(key: bytes) -> str:
    """A name for the letter under this key that can be printed and typed, and is that of no other."""
    text = key.decode("utf-8", "replace")
    plain = bool(text) and text.isprintable() and text.encode() == key and not text.startswith(_HEX)
    return text if plain else _HEX + key.hex()


def _key(shown: UUID | str) -> bytes:
    """The key of a letter by that name; no letter has the key of a name that is none."""
    text = str(shown)
    with suppress(ValueError):
        return bytes.fromhex(text.removeprefix(_HEX)) if text.startswith(_HEX) else text.encode()
    return text.encode("utf-8", "replace")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
