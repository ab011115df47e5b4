"""The two tables of the record. Their names follow `AGENTEXEC_TABLE_PREFIX`, read once when this module is
imported.

An activity has one row that says where it stands, changed only by fenced statements
(`agentexec.store.statements`), and an append-only log. The log's key is (activity, fence, n): n counts the
entries that the holder of one fencing token wrote, so the order of a log never depends on anybody's clock.
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
from agentexec.store.status import Status

PREFIX = table_prefix()
ACTIVITY_TABLE = f"{PREFIX}activity"
LOG_TABLE = f"{PREFIX}activity_log"

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
    """Declarative base whose metadata holds agentexec's tables; give it to Alembic as one of its targets."""


class Activity(Base):
    """One background task and where it stands."""

    __tablename__ = ACTIVITY_TABLE

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=new_id)
    agent_id: Mapped[UUID] = mapped_column(Uuid, nullable=False)
    queue_name: Mapped[str] = mapped_column(String(128), nullable=False)
    agent_type: Mapped[str] = mapped_column(String(255), nullable=False)
    status: Mapped[Status] = mapped_column(_status_type(f"ck_{ACTIVITY_TABLE}_status"), nullable=False)
    fence: Mapped[int] = mapped_column(BigInteger, nullable=False, default=0)
    # Who runs under the fence: a queue that lost its memory and whose clock went back may give a token twice.
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
        # Without the tasks that have no key: each of their versions would be one more entry to write.
        Index(
            f"ix_{ACTIVITY_TABLE}_idempotency_key",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
            sqlite_where=text("idempotency_key IS NOT NULL"),
        ),
        # What the relay and the reconciler scan: it stays as small as the work that is not over.
        Index(
            f"ix_{ACTIVITY_TABLE}_pending",
            "queue_name",
            "id",
            postgresql_where=text("status IN ('queued', 'running')"),
            sqlite_where=text("status IN ('queued', 'running')"),
        ),
        # Who runs under a lock key, for the start of the next: only such rows are in it.
        Index(
            f"ix_{ACTIVITY_TABLE}_locked",
            "queue_name",
            "lock_key",
            postgresql_where=text("status = 'running' AND lock_key IS NOT NULL"),
            sqlite_where=text("status = 'running' AND lock_key IS NOT NULL"),
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
    """A table for what retention takes out of `source`: its columns and its key, and nothing that costs a
    write.
    """
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
