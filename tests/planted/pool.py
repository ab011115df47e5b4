"""The pool under test: agentexec with the edits of one planted defect in force.

Parent and workers import this module by name, so every process has the defect that `PLANTED_DEFECT` names; without the
variable there is none. With `PLANTED_FAILING` every fourth task fails the first time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from harness.targets import agentexec_pool, body
from tests.planted import in_force  # noqa: F401 - before anything runs

_perform = body.perform


async def _fail_at_first(
    number: int, *, attempt: int | None, report: Callable[[int], None], **rest: Any
) -> str | None:
    def report_and_fail(percentage: int) -> None:
        report(percentage)
        if percentage > 50:
            raise RuntimeError("planted: every fourth task fails the first time")

    fails = number % 4 == 0 and attempt == 1
    return await _perform(number, attempt=attempt, report=report_and_fail if fails else report, **rest)


if "PLANTED_FAILING" in os.environ:
    patch.object(body, "perform", _fail_at_first).start()

pool = agentexec_pool.pool
