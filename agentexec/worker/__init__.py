"""Worker processes and the pool that runs them."""

from __future__ import annotations

from agentexec.worker.pool import Pool

__all__ = ["Pool"]
