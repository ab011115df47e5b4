"""Worker processes and the pool that runs them."""

from __future__ import annotations

from agentexec.worker.pool import Pool, WorkerPool

__all__ = ["Pool", "WorkerPool"]
