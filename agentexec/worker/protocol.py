"""What a pool and its worker processes send each other: lines on two pipes, and exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from agentexec.worker.reference import PoolReference

# Notices of a worker, through its status pipe; every other line of it holds counters.
READY = b"ready\n"
LEAVING = b"leaving\n"  # it claims nothing more and ends when its tasks have ended: its slot is free
REFUSED = b"refused "  # it cannot start; the reason follows as a JSON string
# Notices of the fork server, through the same pipe; a number follows.
PID = b"pid "
ENDED = b"ended "  # the worker ended, with this exit code


class ExitCode(IntEnum):
    """Why a worker process ended, other than 0 for drained."""

    BROKEN = 1  # its pool could not be imported
    GONE = 3  # the queue declared it dead: it has no leases left
    FAILED = 4  # its start or its I/O failed
    OVERDUE = 5  # a handler exceeded its hard time limit; all leases were released before
    RECYCLED = 6  # it reached its number of tasks or its memory limit; it has no leases left
    MISCONFIGURED = 78  # its pool is not what its parent has, so another start fails too


class StopCommand(StrEnum):
    """A request to end: to a pool, and from a pool to each worker through a pipe, a line each."""

    DRAIN = "drain"  # let running tasks finish first
    NOW = "now"  # cancel running tasks and release their leases first


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpec:
    """The worker process to start. `expected_tasks` are registered in its pool's parent.

    `settings` are those that take precedence over what the pool's module says.
    """

    name: str
    slot: int
    reference: PoolReference
    expected_tasks: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
