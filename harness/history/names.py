"""Names of processes in a history, each defined in one place."""

from __future__ import annotations

NEMESIS = "nemesis"
"""The process that injects faults and heals them."""

RUNNER, BREAKDOWN = "runner", "breakdown"
"""The process that records a breakdown of the run, and the `f` of that operation."""

PROMISES = "promises"
"""The `f` of the runner's operation that holds what the system under test promises."""

SERVERS = frozenset({"postgres", "redis"})
"""The evidence sources that are read after the run. Their operations do not extend the duration of the run."""

_WORKER = "worker-"


def worker_name(pid: int) -> str:
    """The name under which the worker with this process id records."""
    return f"{_WORKER}{pid}"


def worker_pid(process: str) -> int:
    """The process id in the name of a worker; raises `ValueError` for any other process."""
    pid = process.removeprefix(_WORKER)
    if pid == process:
        raise ValueError(f"{process!r} is not the name of a worker; workers record as {_WORKER}PID")
    return int(pid)
