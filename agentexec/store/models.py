"""The two tables of the activity store, and their archives.

Their names start with `AGENTEXEC_TABLE_PREFIX`, read once when this module is imported. An activity has one row with
its current status, changed only by fenced statements (`agentexec.store.statements`), and a log that only grows. The
key of the log is (activity, fence, n): n counts the entries under one fencing token, so the order of a log does not
depend on a clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from agentexec.config import table_prefix
from agentexec.identifiers import new_id
from agentexec.store.status import PENDING, Status, sql_in

PREFIX = table_prefix()
ACTIVITY_TABLE = f"{PREFIX}activity"
LOG_TABLE = f"{PREFIX}activity_log"

_IS_PENDING = text(f"status {sql_in(PENDING)}")
_HAS_LOCK = text(f"status {sql_in({Status.RUNNING})} AND lock_key IS NOT NULL")
_HAS_KEY = text("idempotency_key IS NOT NULL")

_Json = JSON().with_variant(JSONB(), "postgresql")


def _status_type(constraint: str) -> Enum:
    return Enum(
        Status,
        name=constraint,
        native_enum=False,  # a new status must not need ALTER TYPE
        length=16,
        create_constraint=True,
        values_callable=lambda kind: [member.value for member in kind],
    )


class Base(DeclarativeBase):
    """Declarative base whose metadata has agentexec's tables; a target for Alembic."""


class Activity(Base):
    """One background task and its current status."""

    __tablename__ = ACTIVITY_TABLE

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=new_id)
    agent_id: Mapped[UUID] = mapped_column(Uuid, nullable=False)
    queue_name: Mapped[str] = mapped_column(String(128), nullable=False)
    agent_type: Mapped[str] = mapped_column(String(255), nullable=False)
    status: Mapped[Status] = mapped_column(_status_type(f"ck_{ACTIVITY_TABLE}_status"), nullable=False)
    fence: Mapped[int] = mapped_column(BigInteger, nullable=False, default=0)
    # The worker that runs under the fence: a queue that lost its memory, and whose clock went back, may issue a token
    # twice.
    holder: Mapped[str | None] = mapped_column(String(64), nullable=True)
    attempt: Mapped[int] = mapped_column(Integer, nullable=False, default=0)
    failures: Mapped[int] = mapped_column(Integer, nullable=False, default=0)
    priority: Mapped[int] = mapped_column(SmallInteger, nullable=False, default=0)
    context: Mapped[dict[str, Any]] = mapped_column(_Json, nullable=False)
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata", _Json, nullable=True)
    result: Mapped[Any] = mapped_column(_Json, nullable=True)
    error: Mapped[str | None] = mapped_column(Text, nullable=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), nullable=True)
    lock_key: Mapped[str | None] = mapped_column(String(255), nullable=True)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), nullable=False, server_default=func.now()
    )
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), nullable=False, server_default=func.now()
    )
    run_after: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), nullable=True)
    dispatched_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), nullable=True)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), nullable=True)

    logs: Mapped[list[ActivityLog]] = relationship(
        back_populates="activity",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="(ActivityLog.fence, ActivityLog.n)",
    )

    __table_args__ = (
        Index(f"ix_{ACTIVITY_TABLE}_agent_id", "agent_id", unique=True),
        Index(f"ix_{ACTIVITY_TABLE}_updated_at", text("updated_at DESC")),
        # Only tasks with a key: otherwise each version of a row would write one more index entry.
        Index(
            f"ix_{ACTIVITY_TABLE}_idempotency_key",
            "idempotency_key",
            unique=True,
            postgresql_where=_HAS_KEY,
            sqlite_where=_HAS_KEY,
        ),
        # For the reconciler's scans; as small as the number of pending activities.
        Index(
            f"ix_{ACTIVITY_TABLE}_pending",
            "queue_name",
            "id",
            postgresql_where=_IS_PENDING,
            sqlite_where=_IS_PENDING,
        ),
        # Running activities with a lock key, for the check at a start.
        Index(
            f"ix_{ACTIVITY_TABLE}_locked",
            "queue_name",
            "lock_key",
            postgresql_where=_HAS_LOCK,
            sqlite_where=_HAS_LOCK,
        ),
    )


class ActivityLog(Base):
    """One entry of an activity's log: a change of status, or progress under the same status."""

    __tablename__ = LOG_TABLE

    activity_id: Mapped[UUID] = mapped_column(
        Uuid, ForeignKey(f"{ACTIVITY_TABLE}.id", ondelete="CASCADE"), primary_key=True
    )
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    n: Mapped[int] = mapped_column(Integer, primary_key=True)
    status: Mapped[Status] = mapped_column(_status_type(f"ck_{LOG_TABLE}_status"), nullable=False)
    message: Mapped[str] = mapped_column(Text, nullable=False)
    percentage: Mapped[int | None] = mapped_column(SmallInteger, nullable=True)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), nullable=False, server_default=func.now()
    )

    activity: Mapped[Activity] = relationship(back_populates="logs")

    __table_args__ = (
        Index(f"ix_{LOG_TABLE}_activity_id", "activity_id"),
        Index(f"ix_{LOG_TABLE}_status", "status"),
    )


def _archive_of(source: Any) -> Table:
    """The archive of `source` for retention: its columns and its key, without further indexes."""
    columns = [
        Column(
            column.name,
            String(16) if isinstance(column.type, Enum) else column.type,
            primary_key=column.primary_key,
            nullable=column.nullable,
        )
        for column in source.columns
    ]
    when = Column("archived_at", DateTime(timezone=True), nullable=False, server_default=func.now())
    return Table(f"{source.name}_archive", Base.metadata, *columns, when)


# `cleanup_old_activities(archive=True)` moves activities here (agentexec.activity.retention).
ACTIVITY_ARCHIVE = _archive_of(Activity.__table__)
LOG_ARCHIVE = _archive_of(ActivityLog.__table__)

metadata = Base.metadata
