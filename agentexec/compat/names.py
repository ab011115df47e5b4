"""Second names that agentexec 0.3.0 has for things of this package."""

from __future__ import annotations

from agentexec.identifiers import new_id as generate_agent_id
from agentexec.identifiers import parse_id as normalize_agent_id
from agentexec.worker.pool import Pool as WorkerPool

__all__ = ["WorkerPool", "generate_agent_id", "normalize_agent_id"]
