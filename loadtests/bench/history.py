"""How long the judge takes: a made history of a million operations is read and judged in a process of its own.

`python -m loadtests.bench.history FILE` is that process: it prints seconds and megabytes as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from harness.checker import Checker, check_safe
from harness.checkers import shutdown, standard
from harness.errors import HarnessError
from harness.history import History, Operation, OperationType
from loadtests.bench.bench import Figure, Ground, Result

OPERATIONS = 1_000_000
AT_ONCE = 8  # tasks that run at the same time, and lock keys
KILLED_EVERY = 100  # of these groups, one is killed and runs again
TICK = 100_000  # nanoseconds from one operation to the next


def judge(ground: Ground, repeats: int) -> list[Result]:
    """Seconds to read and to judge a history of 1,000,000 operations by every checker, and megabytes at the most."""
    path = ground.folder / "history.jsonl"
    History(tuple(islice(made(), ground.scaled(OPERATIONS)))).save(path)
    rounds = [_measured(path) for _ in range(repeats)]
    names = {
        "load": ("s", "read"),
        "judge": ("s", "judged by every checker"),
        "peak": ("MB", "memory at the most"),
    }
    return [
        Result(
            figure=Figure(
                name=f"history of {ground.scaled(OPERATIONS):,} operations, {what}",
                unit=unit,
                values=tuple(one[name] for one in rounds),
                higher_is_better=False,
            )
        )
        for name, (unit, what) in names.items()
    ]


def checkers() -> Mapping[str, Checker]:
    """Every checker there is, as a scenario would ask for them."""
    return standard(minimum_faults=0) | {"shutdown": shutdown(graceful=2.0, margin=2.0, minimum_running=0)}


def made() -> Iterator[Operation]:
    """A run without an end in which all went well: `AT_ONCE` tasks at a time, and now and then a kill."""
    now = 0

    def op(process: str, kind: OperationType, f: str, **value: Any) -> Operation:
        nonlocal now
        now += TICK
        return Operation(time=now, process=process, type=kind, f=f, value=value)

    group = 0
    while True:
        tasks = [group * AT_ONCE + slot for slot in range(AT_ONCE)]
        killed = group % KILLED_EVERY == 1
        pid, fence = 1000 + group // KILLED_EVERY, group + 1
        for task in tasks:
            known = {"task": task, "activity": _activity(task)}
            yield op("client", OperationType.INVOKE, "enqueue", task=task)
            yield op("client", OperationType.OK, "enqueue", **known)
        fences = [2 * fence, 2 * fence + 1] if killed else [2 * fence]
        for attempt in fences:
            last = attempt == fences[-1]
            yield from _attempt(op, tasks, pid if last else pid + 500_000, attempt, last=last)
        for task in tasks:
            yield from _witnesses(op, task, fences)
        group += 1


def _attempt(op: Any, tasks: list[int], pid: int, fence: int, *, last: bool) -> Iterator[Operation]:
    worker = f"worker-{pid}"
    known = [
        {
            "task": task,
            "activity": _activity(task),
            "attempt": 1,
            "fence": fence,
            "lock": f"key-{task % AT_ONCE}",
        }
        for task in tasks
    ]
    for value in known:
        yield op(worker, OperationType.INVOKE, "run", **value, pid=pid)
    if not last:
        yield op(
            "nemesis",
            OperationType.INFO,
            "kill-worker",
            fault=fence,
            phase="inject",
            pids=[pid],
            pool="pool-1",
        )
        yield op(
            "nemesis", OperationType.INFO, "kill-worker", fault=fence, phase="heal", pids=[pid], pool="pool-1"
        )
        return
    for value in known:
        part = {name: value[name] for name in ("task", "activity", "fence")}
        yield op(worker, OperationType.INFO, "report", **part, percentage=50)
        yield op(worker, OperationType.OK, "effect", **part)
        yield op(worker, OperationType.OK, "run", **value, pid=pid)


def _witnesses(op: Any, task: int, fences: list[int]) -> Iterator[Operation]:
    known = {"task": task, "activity": _activity(task)}
    rows: list[tuple[int, int, str, int | None]] = [
        (0, 0, "queued", None),
        *((fence, 0, "running", None) for fence in fences),
    ]
    rows += [(fences[-1], 1, "running", 50), (fences[-1], 2, "complete", 100)]
    for fence, n, status, percentage in rows:
        row = {"fence": fence, "n": n, "status": status, "percentage": percentage, "at": 1.5e9}
        yield op("postgres", OperationType.INFO, "transition", **known, **row)
    yield op(
        "postgres", OperationType.INFO, "record", **known, status="complete", attempt=1, fence=fences[-1]
    )


def _activity(task: int) -> str:
    return f"01935d2a-0000-7000-8000-{task:012x}"


def _measured(path: Path) -> Mapping[str, float]:
    command = [sys.executable, "-m", "loadtests.bench.history", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"The judge ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(path: Path) -> Mapping[str, float]:
    """Read and judge a history in this process: seconds for either and for each checker, and peak memory in MB."""
    began = time.process_time()
    history = History.load(path)
    loaded = time.process_time()
    each: dict[str, float] = {}
    for name, checker in checkers().items():
        start = time.process_time()
        result = check_safe(checker, history)
        each[f"checker {name}"] = time.process_time() - start
        print(f"{name}: {result.verdict} {result.summary}", file=sys.stderr)
    judged = time.process_time() - loaded
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB
    return {"load": loaded - began, "judge": judged, "peak": peak, **each}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
