"""The body of every handler under test, for targets in the harness's own environment: `worker` of the worker kit.

All targets run this body, so that a verdict compares queues and not handlers. Two environment variables of the workers
configure it: `HARNESS_HISTORY` is the folder to record into, and `HARNESS_GATE` the socket of the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.kit.harness_worker import worker

ENV_HISTORY = "HARNESS_HISTORY"
ENV_GATE = "HARNESS_GATE"


class RequestedFailure(Exception):
    """The failure of a handler that the workload asks for."""


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
) -> str | None:
    """Run task `number` for `work` seconds, after passing `gate` where one is given, as `worker.run` does it.

    Returns the result of the run, which names its fencing token; None without a token.
    """
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
    run.result = result = None if fence is None else f"of fence {fence}"
    async with run:
        return result
