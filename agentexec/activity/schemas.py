"""Activities as pydantic models, for HTTP responses. They have the fields of agentexec 0.3.0, and more.

`metadata` can be read in code but is not part of dumps, since it may identify a tenant.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, computed_field

from agentexec.masking import masked
from agentexec.store.status import Status


class _Schema(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ActivityLogSchema(_Schema):
    """One log entry. Entries are ordered by (`fence`, `n`), never by their times."""

    activity_id: UUID = Field(exclude=True)
    fence: int
    n: int
    message: str
    status: Status
    percentage: int | None = None
    created_at: datetime

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form
    @property
    def id(self) -> UUID:
        """A stable id of this entry, derived from its key."""
        return uuid5(self.activity_id, f"{self.fence}/{self.n}")


class ActivityDetailSchema(_Schema):
    """One activity with its log."""

    model_config = ConfigDict(populate_by_name=True)

    id: UUID
    agent_id: UUID
    agent_type: str
    status: Status
    attempt: int
    error: str | None = None
    result: Any = None
    created_at: datetime
    updated_at: datetime
    cancel_requested_at: datetime | None = None
    logs: list[ActivityLogSchema] = Field(default_factory=list)
    metadata: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("metadata_", "metadata"), exclude=True
    )

    def mask_secrets(self) -> None:
        """Mask the secrets in messages that were recorded before the record masked them."""
        self.error = self.error and masked(self.error)
        for entry in self.logs:
            entry.message = masked(entry.message)


class ActivityListItemSchema(_Schema):
    """One activity and its last log entry."""

    agent_id: UUID
    agent_type: str
    status: Status
    latest_log_message: str | None = None
    latest_log_timestamp: datetime | None = None
    percentage: int | None = None
    started_at: datetime | None = None
    metadata: dict[str, Any] | None = Field(default=None, exclude=True)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form
    @property
    def elapsed_time_seconds(self) -> int:
        """Whole seconds from the enqueue to the last log entry."""
        if self.latest_log_timestamp is None or self.started_at is None:
            return 0
        return int((self.latest_log_timestamp - self.started_at).total_seconds())


class ActivityListSchema(_Schema):
    """One page of activities, counted from 1."""

    items: list[ActivityListItemSchema]
    total: int
    total_is_exact: bool = True
    page: int
    page_size: int

    def mask_secrets(self) -> None:
        """Mask the secrets in messages that were recorded before the record masked them."""
        for item in self.items:
            item.latest_log_message = item.latest_log_message and masked(item.latest_log_message)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form
    @property
    def total_pages(self) -> int:
        """The number of pages; a lower bound if the total is not exact."""
        return (self.total + self.page_size - 1) // self.page_size
