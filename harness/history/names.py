"""Names of processes in a history, each defined in one place."""

from __future__ import annotations

NEMESIS = "nemesis"
"""The process that injects faults and heals them."""

RUNNER, BREAKDOWN = "runner", "breakdown"
"""The process that records a breakdown of the run, and the `f` of that operation."""

CLOCK = "clock"
"""The `f` with which the runner records the time of day, for the comparison of logs with the history."""

PROMISES = "promises"
"""The `f` of the runner's operation that holds what the system under test promises."""

CHECKERS = "checkers"
"""The `f` of the runner's operation that holds the checkers of the run with their settings."""

LEFT_OUT = "left-out"
"""The `f` of the runner's operation that holds how many faults of the scenario can strike the target."""

PHASE, DRAIN = "phase", "drain"
"""The `f` of the beginning and the end of each phase of a run, and of how the drain ended; the runner records both."""

MACHINE = "machine"
"""The process that measures how busy the machine is, and the `f` of its operations."""

MEMORY = "memory"
"""The process that samples the memory of the processes of pools, and the `f` of its operations."""

START, STOP, KILL = "start", "stop", "kill"
"""The `f` of what the harness itself does with a pool: it starts it, and at the end stops or kills it."""

CHILD = "child"
"""The `f` of what concerns a task that a handler of the application enqueued itself: it has no number."""

INVARIANT = "invariant"
"""The `f` of the operation that holds what an invariant of the application found after the drain."""

RESULT = "result"
"""The `f` of a result that a caller can read outside of the record, as in the queue."""

CANCEL = "cancel"
"""The `f` of a client's request to cancel a task."""

DEADLOCKS = "deadlocks"
"""The `f` of the runner's operation that holds how many deadlocks the database had during the run."""

COPY = "copy"
"""The `f` of what a restored backup of the store holds: `of` is the `f` that it has in the store itself."""

COPIED = "copied"
"""The key of how many of those a fault recorded, in the operation of its heal: a backup may hold nothing."""

LOAD = "load"
"""The `f` of the runner's operations that hold the load of the run, and how late its generator was."""

GAUGES = "gauges"
"""The process that samples what the workers and servers of a load use, and the `f` of its operations."""

METER, MODEL_REQUEST, TOOL_RUN = "meter", "model-request", "tool-run"
"""The process that holds what a simulated LLM endpoint billed, the `f` of its summary, of requests and of tools."""

VOCABULARY = frozenset(
    {
        *("enqueue", CANCEL, "hello", "run", "effect", "report", "exit"),
        *("transition", "record", "queue", RESULT),
        *(
            PROMISES,
            COPY,
            CHECKERS,
            LEFT_OUT,
            BREAKDOWN,
            PHASE,
            DRAIN,
            MACHINE,
            MEMORY,
            START,
            STOP,
            KILL,
            CHILD,
            INVARIANT,
            CLOCK,
            DEADLOCKS,
        ),
        *(LOAD, GAUGES, METER, MODEL_REQUEST, TOOL_RUN),
    }
)
"""Every `f` that the harness records, without the names of faults. `harness.history.history` says what each one is."""

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
