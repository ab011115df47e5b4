"""The statuses of an activity in the store's log, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping

LEGAL: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "canceled", "error"}),
    "running": frozenset({"running", "queued", "complete", "error", "canceled"}),
    "complete": frozenset(),
    "error": frozenset(),
    "canceled": frozenset(),
}
"""By status, the statuses that may follow it; `running` follows itself under a higher fencing token."""

FIRST = "queued"
RUNNING = "running"
COMPLETE = "complete"
CANCELED = "canceled"
ERROR = "error"
TERMINAL = frozenset(status for status, following in LEGAL.items() if not following)
"""Statuses that nothing may follow."""
