"""A claim on a task that ends by itself and that a newer claim always outranks."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to run one task until `deadline`.

    `token` is the fencing token: it rises with every claim of any task of the queue, also after Redis lost
    its memory, and every write of the holder carries it. `deadline` is on this process's monotonic clock, in
    seconds; the server's own deadline is never earlier. `crashes` counts earlier holders that died.
    """

    task_id: UUID
    token: int
    deadline: float
    crashes: int = 0
