"""Progress of handlers between two batches of their worker, limited for each task."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from uuid import UUID

from agentexec.store.rows import LogEntry

MAX_ENTRIES = 100  # of one task in one batch
MAX_CHARACTERS = 100_000  # of their messages together

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _TaskProgress:
    entries: list[LogEntry] = field(default_factory=list)
    characters: int = 0
    replaced: int = 0


class PendingProgress:
    """The progress entries of all tasks for the next batch. Its user guards it with a lock."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[UUID, int], _TaskProgress] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def is_full(self, task_id: UUID, token: int) -> bool:
        """Whether the next entry of a task has to take the place and the number of its newest one."""
        task = self._tasks.get((task_id, token))
        return task is not None and (len(task.entries) >= MAX_ENTRIES or task.characters >= MAX_CHARACTERS)

    def add(self, entry: LogEntry) -> None:
        """Add an entry; one with the number of the task's newest entry replaces it."""
        task = self._tasks.setdefault((entry.id, entry.token), _TaskProgress())
        if task.entries and task.entries[-1].n == entry.n:
            task.characters -= len(task.entries.pop().message)
            task.replaced += 1
        task.entries.append(entry)
        task.characters += len(entry.message)

    def entries(self) -> list[LogEntry]:
        """All entries, those of one task in their order; logs each task with entries that were replaced."""
        for (task_id, _), task in self._tasks.items():
            if task.replaced:
                message = (
                    "task %s reports faster than its worker records: %d entries were replaced by newer ones"
                )
                _logger.warning(message, task_id, task.replaced)
        return [entry for task in self._tasks.values() for entry in task.entries]
