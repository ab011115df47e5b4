"""The body of every handler under test, for targets in the harness's own environment: `worker` of the worker kit.

All targets run this body, so that a verdict compares queues and not handlers. Two environment variables of the workers
configure it: `HARNESS_HISTORY` is the folder to record into, and `HARNESS_GATE` the socket of the gates.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.kit.harness_worker import settings, worker
from harness.kit.harness_worker.effects import take_effect
from harness.kit.harness_worker.recording import worker_file

ENV_HISTORY = "HARNESS_HISTORY"
ENV_GATE = "HARNESS_GATE"


def worker_environment(history: Path, gate_address: str) -> dict[str, str]:
    """The environment variables that a target sets for its pools, so that `perform` works in them."""
    return {ENV_HISTORY: str(history.absolute()), ENV_GATE: gate_address}


def say_hello() -> None:
    """Open this worker's history file; its first operation, `hello`, shows that the worker is up."""
    worker.hello()


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
    """Run task `number` for `work` seconds, after passing `gate` where one is given, as `worker.run` does it."""
    run = worker.run(
        number,
        activity=activity,
        attempt=attempt,
        fence=fence,
        work=work,
        gate=gate,
        lock=lock,
        report=report,
    )
    async with run:
        pass


@contextmanager
def recorded(f: str, **value: Any) -> Iterator[None]:
    """Record a run as `invoke`, then as `ok`, as `fail` if it raised, or as `info` if it was canceled."""
    file, value = worker_file(), {**value, "pid": os.getpid()}
    file.record("invoke", f, value)
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        file.record("info", f, value)
        raise
    except BaseException as error:
        file.record("fail", f, {**value, "error": f"{type(error).__name__}: {error}"})
        raise
    file.record("ok", f, value)


def effect(number: int, *, activity: str, fence: int) -> None:
    """Perform and record the one outside effect per (activity, fence)."""
    taken = take_effect(Path(gate_address()).parent / "effects", activity=activity, fence=fence)
    value = {"task": number, "activity": activity, "fence": fence}
    worker_file().record("ok" if taken else "fail", "effect", value)


def gate_address() -> str:
    """The socket of the run's gates."""
    return settings.gate
