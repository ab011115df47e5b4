"""What a pool and its worker processes send each other: lines on two pipes, and exit codes."""

from __future__ import annotations

from dataclasses import dataclass

from agentexec.worker.reference import PoolReference

# Commands to a worker, through its standard input, a line each.
DRAIN = "drain"
NOW = "now"

# Notices of a worker, through its status pipe; every other line of it holds counters.
READY = b"ready\n"
LEAVING = b"leaving\n"  # it claims nothing more and ends when its tasks have ended: its slot is free

# Exit codes of a worker.
EXIT_GONE = 3  # the queue declared it dead: it has no leases left
EXIT_FAILED = 4  # its start or its I/O failed
EXIT_OVERDUE = 5  # a handler exceeded its hard time limit; all leases were released before
EXIT_RECYCLED = 6  # it reached its number of tasks or its memory limit; it has no leases left


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpec:
    """The worker process to start. `expected_tasks` are registered in its pool's parent."""

    name: str
    slot: int
    reference: PoolReference
    expected_tasks: tuple[str, ...] = ()
