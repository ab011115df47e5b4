"""The order of tasks with one lock key, where the queue did not take an earlier one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from agentexec.queue.protocol import Dispatch
from agentexec.store import reading
from agentexec.text import first_line

AT_ONCE = 500  # lock keys that one query asks for

_logger = logging.getLogger(__name__)


class LockOrder:
    """The lock keys of which a task of this process waits for a pool to dispatch it. One thread uses it.

    Later tasks of these lock keys wait too: pools dispatch in the order of the ids.
    """

    def __init__(self, engine: Engine, *, one_writer: AbstractContextManager[object]) -> None:
        self._engine = engine
        self._one_writer = one_writer  # as in the enqueuer: threads may share one connection
        self._last: dict[str, UUID] = {}  # by lock key, the last task that waits
        self._full: set[str] = set()  # those of the lock keys for which the queue had no room

    def hold(self, tasks: Sequence[Dispatch]) -> tuple[Sequence[Dispatch], set[UUID]]:
        """The tasks that may be dispatched now, and those of the others that wait for room in the queue.

        The others wait from here on.
        """
        if not self._last:
            return tasks, set()
        waiting = self._still_waiting({task.lock_key for task in tasks if task.lock_key})
        self._full &= self._last.keys()
        held = [task for task in tasks if task.lock_key in waiting]
        self.wait(held)
        free = [task for task in tasks if task.lock_key not in waiting]
        return free, {task.task_id for task in held if task.lock_key in self._full}

    def wait(self, tasks: Iterable[Dispatch], full: Collection[UUID] = ()) -> None:
        """Note tasks that the queue did not take, in the order of their enqueue; for `full` it had no room."""
        for task in tasks:
            if task.lock_key:
                self._last[task.lock_key] = task.task_id
                if task.task_id in full:
                    self._full.add(task.lock_key)

    def _still_waiting(self, lock_keys: Collection[str]) -> set[str]:
        """Those of the lock keys with a task that waits; forgets the others, and some that were not asked for."""
        asked = [key for key in lock_keys if key in self._last]
        asked += [key for key, _ in zip(self._last, range(AT_ONCE), strict=False)]
        try:
            with self._one_writer, self._engine.begin() as connection:
                ids = reading.undispatched(connection, {self._last[key] for key in asked})
        except DBAPIError as error:
            _logger.warning("lock keys cannot be ordered (%s); a pool dispatches them", first_line(error))
            return {*asked}
        for key in asked:
            if self._last.get(key) not in ids:
                self._last.pop(key, None)
        return self._last.keys() & lock_keys
