"""The environment of a child process with its own queue."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def child_environment(database_url: str, redis_url: str, queue: str, **more: str) -> dict[str, str]:
    """The variables of this process without those of agentexec, then the servers, the queue and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AGENTEXEC_QUEUE_NAME": queue,
        **more,
    }
