"""Test handlers without servers: docs/howto/test-your-handlers.md.

`running` makes `current_task()` work for a handler that a test calls itself. `run` runs one task as a worker does.
`eager` lets every enqueue of a block run its tasks at once; `in_memory` lets it only record them.
"""

from __future__ import annotations

from agentexec.testing.eager import EagerClient, eager, run
from agentexec.testing.memory import MemoryClient, in_memory
from agentexec.testing.running import Report, RunningTask, running

__all__ = ["EagerClient", "MemoryClient", "Report", "RunningTask", "eager", "in_memory", "run", "running"]
