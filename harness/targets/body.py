"""The body of every handler under test: it records what it does, waits at its gate, takes its effect, and works.

All targets run this one body, so that a verdict compares queues and not handlers. The runner tells the
workers through their environment where to record (`HARNESS_HISTORY`, a folder) and where its gates are
(`HARNESS_GATE`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from harness.errors import TargetFailed
from harness.gate import pass_gate
from harness.history import OperationType, Recorder
from harness.targets.register import take_effect

ENV_HISTORY = "HARNESS_HISTORY"
ENV_GATE = "HARNESS_GATE"
_BEGUN, _NEARLY_DONE = 10, 90  # percent


def worker_environment(history: Path, gate_address: str) -> dict[str, str]:
    """What a target adds to the environment of its pools for `perform` to work in them."""
    return {ENV_HISTORY: str(history), ENV_GATE: gate_address}


def say_hello() -> None:
    """Open this worker's history file; its first line, `hello`, tells the runner that the worker is up."""
    _recorder(os.getpid())


async def perform(
    number: int,
    *,
    activity: str,
    attempt: int | None,
    fence: int | None,
    work: float,
    gate: str | None = None,
    lock: str | None = None,
    report: Callable[[int], None] | None = None,
) -> None:
    """Run task `number` for `work` seconds, after passing `gate` where one is given.

    Records `run` as `invoke`, then as `ok`, as `fail` where it raised, or as `info` where it was canceled: a
    canceled handler may have taken effect. `attempt` and `fence` are what the target handed to the handler, `lock`
    the lock key that it runs under. With a fence, an effect outside is taken once under (activity, fence), and
    recorded. Progress in percent goes to `report`, the target's own way to log it, and is recorded too.
    """
    recorder = _recorder(os.getpid())
    value = {"task": number, "activity": activity, "attempt": attempt, "fence": fence, "pid": os.getpid()}
    if lock is not None:
        value["lock"] = lock
    key = {"task": number, "activity": activity, "fence": fence}

    def progress(percentage: int) -> None:
        if report is not None:
            recorder.record(OperationType.INFO, "report", **key, percentage=percentage)
            report(percentage)

    recorder.record(OperationType.INVOKE, "run", **value)
    try:
        progress(_BEGUN)
        if gate is not None:
            await pass_gate(_setting(os.environ, ENV_GATE), gate, number)
        if fence is not None:
            taken = take_effect(_effects(), activity=activity, fence=fence)
            recorder.record(OperationType.OK if taken else OperationType.FAIL, "effect", **key)
        await asyncio.sleep(work)  # the work itself: an agent waits for its model
        progress(_NEARLY_DONE)
    except asyncio.CancelledError:
        recorder.record(OperationType.INFO, "run", **value)
        raise
    except BaseException as error:
        recorder.record(OperationType.FAIL, "run", **value, error=f"{type(error).__name__}: {error}")
        raise
    recorder.record(OperationType.OK, "run", **value)


def _effects() -> Path:
    """The store of effects: beside the gates' socket, in the run's working folder, and gone with it."""
    return Path(_setting(os.environ, ENV_GATE)).parent / "effects"


@cache
def _recorder(pid: int) -> Recorder:
    # By process id: a worker forked from a process that has recorded already needs a file of its own.
    assert pid == os.getpid()
    return Recorder.for_worker(Path(_setting(os.environ, ENV_HISTORY)))


def _setting(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise TargetFailed(f"{name} is not set in this worker. Start pools with `worker_environment(...)`.")
    return value
