"""What a worker holds right now, and which log entry comes next for each task. Shared by its threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True)
class _Holding:
    token: int
    next_entry: int = 1  # entry 0 is the start itself
    open: bool = True


class HeldLeases:
    """The leases of one worker. A task appears with its claim and leaves with its finish."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holdings: dict[UUID, _Holding] = {}

    def take(self, task_id: UUID, token: int) -> None:
        """A claim arrived."""
        with self._lock:
            self._holdings[task_id] = _Holding(token)

    def drop(self, task_id: UUID, token: int) -> None:
        """The claim under this token is over."""
        with self._lock:
            holding = self._holdings.get(task_id)
            if holding is not None and holding.token == token:
                del self._holdings[task_id]

    def number(self, task_id: UUID, token: int, *, last: bool = False) -> int | None:
        """The number of the next log entry; None once the last one was given or the token is not held."""
        with self._lock:
            holding = self._holdings.get(task_id)
            if holding is None or holding.token != token or not holding.open:
                return None
            number = holding.next_entry
            holding.next_entry += 1
            holding.open = not last
            return number

    def tokens(self) -> dict[UUID, int]:
        """A copy of all leases held."""
        with self._lock:
            return {task_id: holding.token for task_id, holding in self._holdings.items()}

    def __len__(self) -> int:
        with self._lock:
            return len(self._holdings)
