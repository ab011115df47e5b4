"""Dead letters: tasks that the queue gave up, with the reason, kept with their payload until an operator decides.

They are in Redis and in the record, and stay there when Redis loses its contents.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from agentexec.errors import InvalidTask
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store.reading import standings
from agentexec.store.statements import record_dead_letters
from agentexec.store.status import Status
from agentexec.task import Priority, decode_payload, encode_payload

PAGE = 500
_HEX = "hex:"

_logger = logging.getLogger(__name__)


def log_dead_letter(task_id: UUID | str, task_name: str, reason: str) -> None:
    """Log that a task became a dead letter; called once, by the process that recorded it."""
    message = "task %s (agent_id=%s) is a dead letter: %s"
    _logger.error(message, task_name or "with an unknown name", task_id, reason)


def log_dead_letters(names: Mapping[UUID, str], reasons: Mapping[UUID, str]) -> None:
    """Log several of them, given by their task names."""
    for task_id, name in names.items():
        log_dead_letter(task_id, name, reasons[task_id])


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
    """The dead letters of one queue: those in Redis, and those in the record that Redis has lost.

    `engine` defaults to that of the queue; without one the record is not read. Methods raise
    `redis.exceptions.RedisError` and what the database raises.
    """

    def __init__(self, queue: RedisQueue, engine: Engine | None = None) -> None:
        self._queue = queue
        self._engine = engine or queue.engine
        from agentexec.store import dead_letters  # with the ORM, which only operators need

        self._record = dead_letters

    def count(self) -> int:
        """The number of dead letters."""
        return len(self._times())

    def page(self, *, offset: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Up to `limit` of them, the latest first."""
        return self._read(self._times(offset + limit)[offset : offset + limit])

    def get(self, task_id: UUID | str) -> DeadLetter | None:
        """The dead letter of this task, or None."""
        key = _key(task_id)
        died = self._queue.client.zscore(self._queue.keys.dlq, key)
        if died is not None:
            return self._read([(key, float(died))])[0]
        return next(iter(self._recorded([key]).values()), None)

    def all(self) -> Iterator[DeadLetter]:
        """All of them, the latest first, read in pages; those that were removed meanwhile are left out."""
        times = self._times()
        for start in range(0, len(times), PAGE):
            yield from self._read(times[start : start + PAGE])

    def purge(self, task_ids: Iterable[UUID | str]) -> int:
        """Delete dead letters; returns how many of these there were. Their activities stay in the record.

        An activity that is not terminal yet becomes ERROR first: otherwise it would run again.
        """
        ids = list(dict.fromkeys(_key(task_id) for task_id in task_ids))
        return sum(self._purge_page(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE))

    def purge_all(self) -> int:
        """Delete all of them; returns how many there were."""
        return self.purge([_shown(key) for key, _ in self._times()])

    def _times(self, limit: int | None = None) -> list[tuple[bytes, float]]:
        """Keys and times (ms) of up to `limit` of them, the latest first."""
        last = -1 if limit is None else limit - 1
        found: Any = self._queue.client.zrange(self._queue.keys.dlq, 0, last, desc=True, withscores=True)
        times: dict[bytes, float] = {}
        if self._engine is not None:
            with self._engine.connect() as connection:
                recorded = self._record.dead_letter_times(connection, self._queue.name, limit)
            keys = [str(task_id).encode() for task_id in recorded]
            times = {key: at.timestamp() * 1000 for key, at in zip(keys, recorded.values(), strict=True)}
            for start in range(0, len(keys), PAGE):  # the time in Redis decides, also past this page
                page: list[Any] = keys[start : start + PAGE]
                scores: Any = self._queue.client.zmscore(self._queue.keys.dlq, page)
                times |= {k: float(at) for k, at in zip(page, scores, strict=True) if at is not None}
        times |= {key: float(at) for key, at in found}
        return sorted(times.items(), key=lambda item: -item[1])[:limit]

    def _purge_page(self, ids: Sequence[bytes]) -> int:
        members: list[Any] = list(ids)  # redis-py's types know text only; it sends bytes as they are
        died: Any = self._queue.client.zmscore(self._queue.keys.dlq, members)
        # Only dead letters: the job of a live task must stay. A dead letter never runs again under its own id.
        dead = [i for i, score in zip(ids, died, strict=True) if score is not None]
        pending = {i for i, status in self._end_activities(dead).items() if not status.terminal}
        dead = [i for i in dead if i not in pending]
        if dead:
            self._queue.purge(dead)
        unmarked: set[bytes] = set()
        if self._engine is not None:
            with self._engine.begin() as connection:
                found = self._record.unmark_dead_letters(connection, self._queue.name, list(_task_ids(ids)))
            unmarked = {str(task_id).encode() for task_id in found}
        return len(unmarked.union(dead))

    def end_activity(self, letter: DeadLetter) -> Status | None:
        """Record ERROR for the activity of a letter if it is pending; returns its status, None without an activity."""
        return next(iter(self._end_activities([_key(letter.task_id)]).values()), None)

    def _end_activities(self, dead: Sequence[bytes]) -> dict[bytes, Status]:
        """Record ERROR for the pending activities of letters in Redis; returns what all activities are now."""
        ids = _task_ids(dead)
        if not ids or self._engine is None:
            return {}
        reasons = self._queue.dead_reasons(list(ids))
        with self._engine.begin() as connection:
            ended = record_dead_letters(connection, reasons)
            found = standings(connection, list(ids))
        log_dead_letters(ended, reasons)
        return {ids[i]: standing.status for i, standing in found.items()}

    def _read(self, found: Sequence[tuple[bytes, float]]) -> list[DeadLetter]:
        if not found:
            return []
        ids: list[Any] = [task_id for task_id, _ in found]
        pipe = self._queue.client.pipeline(transaction=False)
        pipe.zmscore(self._queue.keys.dlq, ids)
        pipe.hmget(self._queue.keys.reason, ids)
        pipe.hmget(self._queue.keys.job, ids)
        rows = [*zip(found, *pipe.execute(), strict=True)]
        recorded = self._recorded([task_id for (task_id, _), score, _, _ in rows if score is None])
        letters = [
            recorded.get(task_id)
            if score is None
            else _letter(_shown(task_id), died, reason or b"", job or b"")
            for (task_id, died), score, reason, job in rows
        ]
        return [letter for letter in letters if letter is not None]

    def _recorded(self, keys: Sequence[bytes]) -> dict[bytes, DeadLetter]:
        """Those of the letters that the record has."""
        ids = _task_ids(keys)
        if not ids or self._engine is None:
            return {}
        with self._engine.connect() as connection:
            rows = self._record.dead_letter_rows(connection, self._queue.name, list(ids))
        return {
            ids[row.id]: DeadLetter(
                task_id=str(row.id),
                reason=row.error or "",
                died_at=died_at,
                payload=encode_payload(row.agent_type, row.context),
                level=row.priority,
                task_name=row.agent_type,
                context=row.context,
            )
            for row, died_at in rows
        }


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


def _task_ids(keys: Iterable[bytes]) -> dict[UUID, bytes]:
    """The ids of activities among keys of dead letters."""
    ids: dict[UUID, bytes] = {}
    for key in keys:
        with suppress(ValueError):
            task_id = UUID(key.decode())
            if str(task_id).encode() == key:  # another spelling was not pushed by agentexec
                ids[task_id] = key
    return ids


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
