"""One stall, seen by open arrivals and by users of a closed model beside them: `python -m loadtests.stall`.

Both put the same load on the same pool at the same time. Open arrivals are due at planned times. Users of a closed
model wait for the end of a task before they send the next one, so during a stall they send nothing: each of them notes
one slow task, and the tasks that would have been slow are missing.
"""

from __future__ import annotations

from loadtests.work import TASK_NAME, Work

__all__ = ["RATE", "THRESHOLDS", "USERS", "WORK"]

RATE = 50.0
"""Tasks a second of each model while nothing stalls."""

USERS = 10
"""The users of the closed model."""

WORK = Work(seconds=0.05)

THRESHOLDS = {f"{kind} {TASK_NAME}": "p99 < 1s" for kind in ("TASK", "ENQUEUE", "WAIT")}
