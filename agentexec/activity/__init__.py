"""The activity record: what it says of a task, and how a handler or an operator adds to it."""

from __future__ import annotations

from agentexec.activity.models import Activity, ActivityLog
from agentexec.activity.status import LEGAL, PENDING, TERMINAL, Status, is_legal

__all__ = ["LEGAL", "PENDING", "TERMINAL", "Activity", "ActivityLog", "Status", "is_legal"]
