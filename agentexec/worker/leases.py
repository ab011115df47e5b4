"""The leases of a worker, and the number of the next log entry under each. Shared by its threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True)
class _Lease:
    token: int
    next_entry: int = 1  # entry 0 is the start itself
    open: bool = True


class HeldLeases:
    """The leases of one worker. A task appears with its claim and leaves with its finish."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[UUID, _Lease] = {}

    def add(self, task_id: UUID, token: int) -> None:
        """Add a claim."""
        with self._lock:
            self._leases[task_id] = _Lease(token)

    def remove(self, task_id: UUID, token: int) -> None:
        """Remove the lease under this token, if it is the present one."""
        with self._lock:
            lease = self._leases.get(task_id)
            if lease is not None and lease.token == token:
                del self._leases[task_id]

    def __contains__(self, lease: tuple[UUID, int]) -> bool:
        """Whether the task is leased under this token and its run has not ended."""
        with self._lock:
            present = self._leases.get(lease[0])
            return present is not None and present.token == lease[1] and present.open

    def number(self, task_id: UUID, token: int, *, last: bool = False, again: bool = False) -> int | None:
        """The number of the next log entry, or the previous one `again`.

        None if the lease is lost or the last number was given.
        """
        with self._lock:
            lease = self._leases.get(task_id)
            if lease is None or lease.token != token or not lease.open:
                return None
            if again:
                return lease.next_entry - 1
            number = lease.next_entry
            lease.next_entry += 1
            lease.open = not last
            return number

    def tokens(self) -> dict[UUID, int]:
        """A copy of all tokens by task."""
        with self._lock:
            return {task_id: lease.token for task_id, lease in self._leases.items()}

    def running(self) -> int:
        """The number of tasks whose runs have not ended."""
        with self._lock:
            return sum(lease.open for lease in self._leases.values())

    def __len__(self) -> int:
        with self._lock:
            return len(self._leases)
