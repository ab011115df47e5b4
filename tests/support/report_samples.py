"""Runs that look like real ones, without any server: a small simulation of pools under faults, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.checkers.base import CheckResult, Verdict
from harness.environments.base import ServerVersions
from harness.history import History, Operation, OperationType
from harness.scenario import ScenarioRun

SERVERS = ServerVersions(postgres="PostgreSQL 18.6", redis="Valkey 9.1.2")
INVOKE, OK, FAIL, INFO = OperationType.INVOKE, OperationType.OK, OperationType.FAIL, OperationType.INFO


@dataclass
class SampleHistory:
    """Collects operations; times are seconds since an arbitrary moment."""

    operations: list[Operation] = field(default_factory=list)

    def add(self, at: float, process: str, kind: OperationType, f: str, /, **value: Any) -> None:
        stamp = int((1_000.0 + at) * 1e9)
        self.operations.append(Operation(time=stamp, process=process, type=kind, f=f, value=value))

    def history(self, problems: Iterable[str] = ()) -> History:
        return History.of(self.operations, problems)


@dataclass
class _Slot:
    pid: int
    free: list[float]
    dies: float | None = None


def kill_history(
    *,
    seed: int = 7,
    tasks: int = 200,
    workers: int = 3,
    concurrency: int = 4,
    kills: int = 5,
    lose: bool = False,
) -> tuple[History, list[int]]:
    """Tasks through workers of which some are killed; returns the history and the tasks lost on the way.

    With `lose`, a task that was cut off never runs again, as with a queue that pops destructively.
    """
    rng, sample = random.Random(seed), SampleHistory()
    pids = iter(range(4101, 9999, 7))
    slots = [_Slot(next(pids), []) for _ in range(workers)]
    for slot in slots:
        _hello(sample, slot, 0.2 + rng.random() * 0.1, concurrency)
    fault_times = [0.9 + i * 0.75 + rng.random() * 0.3 for i in range(kills)]
    pending = [(0.35 + 0.011 * n, n, 1) for n in range(1, tasks + 1)]
    for at, n, _ in pending:
        sample.add(at, "client", INVOKE, "enqueue", task=n)
        sample.add(at + 0.006, "client", OK, "enqueue", task=n, activity=f"a{n:05d}")
    lost: list[int] = []
    deaths = [(at, i + 1) for i, at in enumerate(fault_times)]
    while pending:
        pending.sort()
        at, n, attempt = pending.pop(0)
        slot = min(slots, key=lambda s: min(s.free))
        start = max(at, min(slot.free)) + 0.002
        end = start + rng.lognormvariate(-2.2, 0.6)
        if deaths and start > deaths[0][0]:
            pending.append((at, n, attempt))
            _kill(sample, rng, slots, pids, deaths.pop(0), concurrency)
            continue
        run = {
            "task": n,
            "activity": f"a{n:05d}",
            "attempt": attempt,
            "fence": attempt * 1000 + n,
            "pid": slot.pid,
        }
        victim = deaths and slots[deaths[0][1] % len(slots)] is slot
        sample.add(start, f"worker-{slot.pid}", INVOKE, "run", **run)
        slot.free[slot.free.index(min(slot.free))] = end
        if victim and end > deaths[0][0]:
            if lose:
                lost.append(n)
            else:
                pending.append((deaths[0][0] + 0.05 + rng.random() * 0.3, n, attempt + 1))
            continue
        sample.add(end, f"worker-{slot.pid}", FAIL if rng.random() < 0.02 else OK, "run", **run)
    return sample.history(), lost


def _hello(sample: SampleHistory, slot: _Slot, at: float, concurrency: int) -> None:
    sample.add(at, f"worker-{slot.pid}", INFO, "hello", pid=slot.pid)
    slot.free = [at + 0.02] * concurrency


def _kill(
    sample: SampleHistory,
    rng: random.Random,
    slots: list[_Slot],
    pids: Any,
    death: tuple[float, int],
    concurrency: int,
) -> None:
    at, n = death
    index = n % len(slots)
    sample.add(
        at,
        "nemesis",
        INFO,
        "kill-worker",
        fault=n,
        phase="inject",
        kind="kill",
        pids=[slots[index].pid],
        pool="pool-1",
    )
    slots[index] = _Slot(next(pids), [])
    healed = at + 0.25 + rng.random() * 0.2
    _hello(sample, slots[index], healed, concurrency)
    sample.add(healed, "nemesis", INFO, "kill-worker", fault=n, phase="heal")


def sigterm_history() -> History:
    """One pool is stopped: two runs end in time, one is released and runs in the next pool."""
    sample = SampleHistory()
    for pid, pool_at in ((501, 0.1), (502, 0.12), (503, 0.13), (601, 1.9), (602, 1.95)):
        sample.add(pool_at, f"worker-{pid}", INFO, "hello", pid=pid)
    for n in range(1, 9):
        sample.add(0.2 + n * 0.02, "client", INVOKE, "enqueue", task=n)
        sample.add(0.21 + n * 0.02, "client", INFO if n == 8 else OK, "enqueue", task=n, activity=f"a{n}")
    sample.add(
        0.6,
        "nemesis",
        INFO,
        "sigterm",
        fault=1,
        phase="inject",
        kind="stop",
        pids=[500, 501, 502, 503],
        pool="pool-1",
    )
    ends = (
        (1, 501, 0.3, 0.9, OK),
        (2, 502, 0.35, 1.1, OK),
        (3, 502, 0.36, 1.5, INFO),
        (4, 501, 0.3, 0.5, FAIL),
    )
    for n, pid, start, end, kind in (*ends, *((n, 601 + n % 2, 2.0, 2.3, OK) for n in (3, 5, 6, 7, 8))):
        run = {
            "task": n,
            "activity": f"a{n}",
            "attempt": 2 if (n, kind) == (3, OK) else 1,
            "fence": n,
            "pid": pid,
        }
        sample.add(start, f"worker-{pid}", INVOKE, "run", **run)
        sample.add(end, f"worker-{pid}", kind, "run", **run)
    sample.add(1.6, "pool-1", INFO, "exit", pid=500, code=0)
    sample.add(1.7, "nemesis", INFO, "sigterm", fault=1, phase="heal")
    return sample.history(["worker-502.jsonl:9 is cut off: its writer ended while writing it"])


def run_of(history: History, **more: Any) -> ScenarioRun:
    """A run around a history; whatever is not given is as in a good run."""
    facts: dict[str, Any] = {
        "scenario": "kill-worker-mid-task",
        "summary": "Workers die by SIGKILL while their handlers run; every task must still be completed.",
        "backend": "embedded",
        "target": "agentexec",
        "target_version": "0.1.0",
        "seed": 424242,
        "tasks": sum(op.f == "enqueue" and op.type is INVOKE for op in history),
        "servers": SERVERS,
        "history": history,
        "results": good_results(),
        "seconds": 11.4,
        "repeat": "harness chaos run kill-worker-mid-task --backend embedded --seed 424242 --tasks 200",
    }
    return ScenarioRun(**(facts | more))


def good_results() -> dict[str, CheckResult]:
    return {
        "delivery": CheckResult(
            verdict=Verdict.VALID,
            summary="All 200 acknowledged tasks were completed; 9 of them needed a second run.",
            figures={
                "attempted": 200,
                "acknowledged": 200,
                "completed": 200,
                "lost": 0,
                "stuck": 0,
                "duplicated": 2,
                "recovered": 9,
            },
        ),
        "transitions": CheckResult(
            verdict=Verdict.VALID,
            summary="All 612 transitions were legal.",
            figures={"transitions": 612, "illegal": 0},
        ),
        "recovery": CheckResult(
            verdict=Verdict.VALID,
            summary="Half of the tasks ran again within 210 ms, 99 of 100 within 412 ms.",
            figures={"p50": 0.21, "p99": 0.412, "bound": 2.0, "from_last_kill": 0},
        ),
    }


def lost_results(tasks: Iterable[int]) -> dict[str, CheckResult]:
    lost = list(tasks)
    events = (
        "submitted at +0.361 s; acknowledged at +0.372 s; started by worker-4101 at +0.801 s; "
        "worker-4101 hit by kill-worker at +1.204 s; never again; record: RUNNING"
    )
    members = tuple(
        {"kind": "lost", "task": n, "why": "acknowledged and never completed", "operations": events}
        for n in lost
    )
    return good_results() | {
        "delivery": CheckResult(
            verdict=Verdict.INVALID,
            summary=f"{len(lost)} of 200 acknowledged tasks were lost",
            figures={
                "attempted": 200,
                "acknowledged": 200,
                "completed": 200 - len(lost),
                "lost": len(lost),
                "stuck": 0,
                "duplicated": 0,
            },
            counterexamples=members,
        )
    }


def valid_run(**more: Any) -> ScenarioRun:
    return run_of(kill_history()[0], **more)


def invalid_run(**more: Any) -> ScenarioRun:
    history, lost = kill_history(lose=True, seed=3)
    facts: dict[str, Any] = {"target": "planted-pop", "results": lost_results(lost)}
    return run_of(history, **(facts | more))


def unknown_run(**more: Any) -> ScenarioRun:
    results = good_results()
    results["shutdown"] = CheckResult(
        verdict=Verdict.UNKNOWN,
        summary="the checker itself failed: KeyError: 'pid'",
        counterexamples=(
            {"traceback": 'Traceback (most recent call last):\n  File "x.py", line 1\nKeyError: pid\n'},
        ),
    )
    facts: dict[str, Any] = {
        "scenario": "sigterm-drain",
        "summary": "A pool that gets SIGTERM ends its running tasks in time and leaves the queued ones queued.",
        "results": results,
        "error": "the drain did not end within 20 s: redis://:hunter2@127.0.0.1:6379/0 stopped answering",
        "repeat": "harness chaos run sigterm-drain --backend embedded --seed 424242 --tasks 8",
    }
    return run_of(sigterm_history(), **(facts | more))


def empty_run(**more: Any) -> ScenarioRun:
    return replace(run_of(History.of([])), scenario="nothing", results={}, **more)


if __name__ == "__main__":
    import sys

    from harness.report import verdict_table, write_reports

    runs = [valid_run(), invalid_run(), unknown_run()]
    big = run_of(kill_history(tasks=900, workers=20, concurrency=4, kills=14)[0], scenario="twenty-workers")
    print(verdict_table([*runs, big], colour=True), write_reports([*runs, big], Path(sys.argv[1])).html)
