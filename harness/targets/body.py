"""The body of every handler under test: it records its run, waits at its gate, performs its effect, and works.

All targets run this body, so that a verdict compares queues and not handlers. Two environment variables of the workers
configure it: `HARNESS_HISTORY` is the folder to record into, and `HARNESS_GATE` the socket of the gates.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import TargetFailed
from harness.gate import pass_gate
from harness.history import OperationType, Recorder
from harness.targets.effects import take_effect

ENV_HISTORY = "HARNESS_HISTORY"
ENV_GATE = "HARNESS_GATE"
_BEGUN, _NEARLY_DONE = 10, 90  # percent


def worker_environment(history: Path, gate_address: str) -> dict[str, str]:
    """The environment variables that a target sets for its pools, so that `perform` works in them."""
    return {ENV_HISTORY: str(history), ENV_GATE: gate_address}


def say_hello() -> None:
    """Open this worker's history file; its first operation, `hello`, shows that the worker is up."""
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

    Records `run` as `invoke`, then as `ok`, as `fail` if it raised, or as `info` if it was canceled: a canceled handler
    may have had its effect. The target passes the `attempt`, the fencing token `fence` and the key `lock` of this run.
    With a token, one outside effect per (activity, fence) is performed and recorded. `report` is the target's function
    for progress in percent; progress is recorded too.
    """
    value = {"task": number, "activity": activity, "attempt": attempt, "fence": fence}
    key = {"task": number, "activity": activity, "fence": fence}

    def progress(percentage: int) -> None:
        if report is not None:
            _recorder(os.getpid()).record(OperationType.INFO, "report", **key, percentage=percentage)
            report(percentage)

    with recorded("run", **value, **({} if lock is None else {"lock": lock})):
        progress(_BEGUN)
        if gate is not None:
            await pass_gate(gate_address(), gate, number)
        if fence is not None:
            effect(number, activity=activity, fence=fence)
        await asyncio.sleep(work)
        progress(_NEARLY_DONE)


@contextmanager
def recorded(f: str, **value: Any) -> Iterator[None]:
    """Record a run as `invoke`, then as `ok`, as `fail` if it raised, or as `info` if it was canceled."""
    recorder = _recorder(os.getpid())
    value["pid"] = os.getpid()
    recorder.record(OperationType.INVOKE, f, **value)
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        recorder.record(OperationType.INFO, f, **value)
        raise
    except BaseException as error:
        recorder.record(OperationType.FAIL, f, **value, error=f"{type(error).__name__}: {error}")
        raise
    recorder.record(OperationType.OK, f, **value)


def effect(number: int, *, activity: str, fence: int) -> None:
    """Perform and record the one outside effect per (activity, fence)."""
    taken = take_effect(_effects(), activity=activity, fence=fence)
    kind = OperationType.OK if taken else OperationType.FAIL
    _recorder(os.getpid()).record(kind, "effect", task=number, activity=activity, fence=fence)


def gate_address() -> str:
    """The socket of the run's gates."""
    return _setting(os.environ, ENV_GATE)


def _effects() -> Path:
    """The store of effects: in the run's working folder, beside the socket of the gates."""
    return Path(gate_address()).parent / "effects"


@cache
def _recorder(pid: int) -> Recorder:
    # One per process id: a process forked from a worker needs its own file.
    assert pid == os.getpid()
    return Recorder.for_worker(Path(_setting(os.environ, ENV_HISTORY)))


def _setting(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise TargetFailed(f"{name} is not set in this worker. Start pools with `worker_environment(...)`.")
    return value
