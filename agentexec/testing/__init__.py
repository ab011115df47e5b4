"""Test handlers without servers: docs/howto/test-your-handlers.md.

`running` makes `current_task()` work for a handler that a test calls itself. `run` runs one task as a worker does, and
gives its outcome. `eager` lets every enqueue of a block run its tasks at once.
"""

from __future__ import annotations

from agentexec.testing.eager import EagerClient, Outcome, eager, run
from agentexec.testing.running import Report, RunningTask, running

__all__ = ["EagerClient", "Outcome", "Report", "RunningTask", "eager", "run", "running"]
