"""The activity API: how services and handlers read and change activities."""

from __future__ import annotations

from agentexec.activity.lifecycle import cancel, complete, create, error, update
from agentexec.activity.querying import count_active, detail
from agentexec.activity.querying import list_activities as list
from agentexec.activity.retention import cleanup_old_activities
from agentexec.activity.schemas import (
    ActivityDetailSchema,
    ActivityListItemSchema,
    ActivityListSchema,
    ActivityLogSchema,
)
from agentexec.activity.startup import cancel_pending
from agentexec.compat.answers import AgentId, Done
from agentexec.identifiers import new_id as generate_agent_id
from agentexec.identifiers import parse_id as normalize_agent_id
from agentexec.store.models import Activity, ActivityLog
from agentexec.store.status import LEGAL, PENDING, TERMINAL, Status, is_legal

__all__ = [
    "LEGAL", "PENDING", "TERMINAL", "Activity", "ActivityDetailSchema", "ActivityListItemSchema",
    "ActivityListSchema", "ActivityLog", "ActivityLogSchema", "AgentId", "Done", "Status", "cancel",
    "cancel_pending", "cleanup_old_activities", "complete", "count_active", "create", "detail", "error",
    "generate_agent_id", "is_legal", "list", "normalize_agent_id", "update",
]  # fmt: skip
