"""How long it takes to judge a history: a generated one of a million operations, in a process of its own.

`python -m loadtests.bench.history FILE` is that process: it prints seconds and megabytes as JSON. Seconds are CPU time,
which excludes other load of the machine.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.checkers import FEATURES, shutdown, standard
from harness.checkers.base import Checker, Verdict, check_safe
from harness.errors import HarnessError
from harness.history import History, InjectionKind, Operation, OperationType, uncollected
from harness.history.injection import HEAL, INJECT
from harness.history.names import NEMESIS, worker_name
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure

OPERATIONS = 1_000_000
# The most CPU seconds to read and judge `OPERATIONS` operations.
REQUIRED = 10.0
# Tasks that run at the same time. Half of them have a lock key of their own.
AT_ONCE = 8
# A kill interrupts one of this number of groups of tasks, and the group runs again.
KILLED_EVERY = 100
# Nanoseconds from one operation to the next.
TICK = 100_000
# Operations after the last fault.
LAST = 300


def judge(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """CPU seconds to read 1,000,000 operations, to judge them by every checker, and for both; and peak megabytes."""
    path = environment.folder / "history.jsonl"
    size = environment.scaled(OPERATIONS)
    History(tuple(made(size))).save(path)
    rounds = [_measured(path) for _ in range(repeats)]
    names = {
        "load": ("s", "read"),
        "judge": ("s", "judged by every checker"),
        "both": ("s", f"read and judged ({REQUIRED:g} s are wanted for {OPERATIONS:,})"),
        "peak": ("MB", "memory at the most"),
    }
    return [
        BenchResult(
            figure=Figure(
                name=f"history of {size:,} operations, {what}",
                unit=unit,
                values=tuple(one[name] for one in rounds),
                higher_is_better=False,
            )
        )
        for name, (unit, what) in names.items()
    ]


def checkers() -> Mapping[str, Checker]:
    """Every checker, as a scenario with all features uses them."""
    return standard(uses=FEATURES) | {"shutdown": shutdown(graceful=2.0, margin=2.0, minimum_running=0)}


@dataclass(kw_only=True, slots=True)
class _Writer:
    """Makes one operation after another, each a tick later."""

    now: int = 0
    written: int = 0

    def __call__(self, process: str, kind: OperationType, f: str, /, **value: Any) -> Operation:
        self.now += TICK
        self.written += 1
        return Operation(time=self.now, process=process, type=kind, f=f, value=value)


def made(size: int) -> Iterator[Operation]:
    """A run without breaches, of at least `size` operations.

    `AT_ONCE` tasks run at a time, and kills interrupt some groups. Before the last tasks, a pool that has none gets
    SIGTERM, and at the end the queue is empty.
    """
    op, group, stopped = _Writer(), 0, False
    while op.written < size:
        if not stopped and op.written > size - LAST:
            stop = {
                "fault": 0,
                "phase": INJECT,
                "kind": InjectionKind.STOP,
                "pids": [1],
                "pool": "pool-2",
                "pid": 2,
            }
            yield op(NEMESIS, OperationType.INFO, "sigterm", **stop)
            yield op("pool-2", OperationType.INFO, "exit", pid=2, code=0)
            stopped = True
        tasks = [group * AT_ONCE + slot for slot in range(AT_ONCE)]
        fences = [2 * group + 2, 2 * group + 3] if group % KILLED_EVERY == 1 else [2 * group + 2]
        pid = 1000 + group // KILLED_EVERY
        for task in tasks:
            asked = {"priority": "low" if task % 2 else "high"}
            yield op("client", OperationType.INVOKE, "enqueue", task=task, **asked)
            yield op("client", OperationType.OK, "enqueue", task=task, activity=_activity(task))
        for fence in fences[:-1]:
            yield from _killed(op, tasks, pid + 500_000, fence)
        yield from _finished(op, tasks, pid, fences[-1])
        for task in tasks:
            yield from _stored(op, task, fences)
        group += 1
    empty = dict.fromkeys(("ready", "leased", "scheduled", "parked", "dead", "known"), 0)
    yield op("redis", OperationType.INFO, "queue", **empty, held=[])


def _run(task: int, fence: int, pid: int) -> dict[str, Any]:
    attempt = fence - 2 * (task // AT_ONCE) - 1
    run = {"task": task, "activity": _activity(task), "attempt": attempt, "fence": fence, "pid": pid}
    return run | {"lock": f"key-{task % AT_ONCE}"} if task % 4 < 2 else run


def _killed(op: _Writer, tasks: list[int], pid: int, fence: int) -> Iterator[Operation]:
    for task in tasks:
        yield op(worker_name(pid), OperationType.INVOKE, "run", **_run(task, fence, pid))
    for phase in (INJECT, HEAL):
        hit = {"fault": fence, "phase": phase, "kind": InjectionKind.KILL, "pids": [pid], "pool": "pool-1"}
        yield op(NEMESIS, OperationType.INFO, "kill-worker", **hit)


def _finished(op: _Writer, tasks: list[int], pid: int, fence: int) -> Iterator[Operation]:
    worker = worker_name(pid)
    for task in tasks:
        yield op(worker, OperationType.INVOKE, "run", **_run(task, fence, pid))
    for task in tasks:
        key = {"task": task, "activity": _activity(task), "fence": fence}
        yield op(worker, OperationType.INFO, "report", **key, percentage=50)
        yield op(worker, OperationType.OK, "effect", **key)
        yield op(worker, OperationType.OK, "run", **_run(task, fence, pid))


def _stored(op: _Writer, task: int, fences: list[int]) -> Iterator[Operation]:
    known = {"task": task, "activity": _activity(task)}
    rows: list[tuple[int, int, str, int | None]] = [(0, 0, "queued", None)]
    rows += [(fence, 0, "running", 0) for fence in fences]
    rows += [(fences[-1], 1, "running", 50), (fences[-1], 2, "complete", 100)]
    for fence, n, status, percentage in rows:
        row = {"fence": fence, "n": n, "status": status, "percentage": percentage, "at": 1.5e9}
        yield op("postgres", OperationType.INFO, "transition", **known, **row)
    yield op(
        "postgres",
        OperationType.INFO,
        "record",
        **known,
        status="complete",
        attempt=len(fences),
        fence=fences[-1],
    )


def _activity(task: int) -> str:
    return f"01935d2a-0000-7000-8000-{task:012x}"


def _measured(path: Path) -> Mapping[str, float]:
    command = [sys.executable, "-m", "loadtests.bench.history", str(path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise HarnessError(
            f"The process that judges the history ended with code {done.returncode}: {done.stderr.strip()[-300:]}"
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(path: Path) -> Mapping[str, float]:
    """Read and judge a history in this process: CPU seconds for each part and each checker, and peak memory in MB.

    Raises `HarnessError` if a checker does not find the history VALID: then it was not judged in full.
    """
    began = time.process_time()
    history = History.load(path)
    loaded = time.process_time()
    results, each = {}, {}
    with uncollected():
        for name, checker in checkers().items():
            start = time.process_time()
            results[name] = check_safe(checker, history)
            each[f"checker {name}"] = time.process_time() - start
    ended = time.process_time()
    wrong = {name: result.summary for name, result in results.items() if result.verdict is not Verdict.VALID}
    if wrong:
        raise HarnessError(
            f"The generated history is not VALID to every checker: {wrong}. This is a bug of the harness."
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB
    return {"load": loaded - began, "judge": ended - loaded, "both": ended - began, "peak": peak, **each}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
