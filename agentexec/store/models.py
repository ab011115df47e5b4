"""The two tables of the activity store, and their archives.

Their names start with `AGENTEXEC_TABLE_PREFIX`, read once when this module is imported. An activity has one row with
its current status, changed only by fenced statements (`agentexec.store.statements`), and a log that only grows. The
key of the log is (activity, fence, n): n counts the entries under one fencing token, so the order of a log does not
depend on a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from agentexec.identifiers import new_id
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from agentexec.store.status import PENDING, Status, sql_in

_Json = sa.JSON().with_variant(JSONB(), "postgresql")
_JsonObject = Annotated[dict[str, Any], mapped_column(_Json)]
_Time = Annotated[datetime, mapped_column(sa.DateTime(timezone=True))]
_TimeOfWrite = Annotated[datetime, mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())]


def _status_type(constraint: str) -> sa.Enum:
    return sa.Enum(
        Status,
        name=constraint,
        native_enum=False,  # a new status must not need ALTER TYPE
        length=16,
        create_constraint=True,
        values_callable=lambda kind: [member.value for member in kind],
    )


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index of the activities for which `where` holds."""
    name, condition = f"ix_{ACTIVITY_TABLE}_{name}", sa.text(where)
    return sa.Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


class Base(DeclarativeBase):
    """Declarative base whose metadata has agentexec's tables; a target for Alembic."""


class Activity(Base):
    """One background task and its current status."""

    __tablename__ = ACTIVITY_TABLE

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    agent_id: Mapped[UUID]
    queue_name: Mapped[str] = mapped_column(sa.String(128))
    agent_type: Mapped[str] = mapped_column(sa.String(255))
    status: Mapped[Status] = mapped_column(_status_type(f"ck_{ACTIVITY_TABLE}_status"))
    fence: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    # The worker that runs under the fence: a queue that lost its memory may issue a token twice if its clock went back.
    holder: Mapped[str | None] = mapped_column(sa.String(64))
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    priority: Mapped[int] = mapped_column(sa.SmallInteger, default=0)
    context: Mapped[_JsonObject]
    metadata_: Mapped[_JsonObject | None] = mapped_column("metadata")
    result: Mapped[Any] = mapped_column(_Json, nullable=True)
    error: Mapped[str | None] = mapped_column(sa.Text)
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(255))
    lock_key: Mapped[str | None] = mapped_column(sa.String(255))
    created_at: Mapped[_TimeOfWrite]
    updated_at: Mapped[_TimeOfWrite]
    run_after: Mapped[_Time | None]
    dispatched_at: Mapped[_Time | None]
    cancel_requested_at: Mapped[_Time | None]
    # The queue still has to stop or remove the task; a reconciler asks it until it has answered.
    withdraw_since: Mapped[_Time | None]
    dead_lettered_at: Mapped[_Time | None]

    logs: Mapped[list[ActivityLog]] = relationship(
        back_populates="activity",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="(ActivityLog.fence, ActivityLog.n)",
    )

    __table_args__ = (
        sa.Index(f"ix_{ACTIVITY_TABLE}_agent_id", "agent_id", unique=True),
        sa.Index(f"ix_{ACTIVITY_TABLE}_updated_at", sa.text("updated_at DESC")),
        # Only tasks with a key: otherwise each version of a row would write one more index entry.
        _partial("idempotency_key", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True),
        # For the reconciler's scans; as small as the number of pending activities.
        _partial("pending", "queue_name", "id", where=f"status {sql_in(PENDING)}"),
        # Running activities with a lock key, for the check at a start.
        _partial(
            "locked",
            "queue_name",
            "lock_key",
            where=f"status {sql_in({Status.RUNNING})} AND lock_key IS NOT NULL",
        ),
        # For lists: each status newest first, whatever the backlog and the number of finished ones.
        _partial("status", "status", "id", where=f"status <> '{Status.QUEUED}'"),
        _partial("withdraw", "queue_name", "id", where="withdraw_since IS NOT NULL"),
        _partial("dead_letters", "queue_name", "dead_lettered_at", where="dead_lettered_at IS NOT NULL"),
        {"postgresql_with": {"fillfactor": 50}},  # a new version in the page of its row may write no index
    )


def in_status(statuses: Iterable[Status]) -> sa.ColumnElement[bool]:
    """The condition on an activity in literals: a plan for parameters cannot use an index of some statuses."""
    return sa.literal_column(f"{ACTIVITY_TABLE}.status {sql_in(statuses)}", sa.Boolean)


class ActivityLog(Base):
    """One entry of an activity's log: a change of status, or progress under the same status."""

    __tablename__ = LOG_TABLE

    activity_id: Mapped[UUID] = mapped_column(
        sa.ForeignKey(f"{ACTIVITY_TABLE}.id", ondelete="CASCADE"), primary_key=True
    )
    fence: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[Status] = mapped_column(_status_type(f"ck_{LOG_TABLE}_status"))
    message: Mapped[str] = mapped_column(sa.Text)
    percentage: Mapped[int | None] = mapped_column(sa.SmallInteger)
    created_at: Mapped[_TimeOfWrite]

    activity: Mapped[Activity] = relationship(back_populates="logs")

    __table_args__ = (
        sa.Index(f"ix_{LOG_TABLE}_activity_id", "activity_id"),
        sa.Index(f"ix_{LOG_TABLE}_status", "status"),
    )


def _archive_of(source: Any) -> sa.Table:
    """The archive of `source` for retention: its columns and its key, without further indexes."""
    columns = [
        sa.Column(
            column.name,
            sa.String(16) if isinstance(column.type, sa.Enum) else column.type,
            primary_key=column.primary_key,
            nullable=column.nullable,
        )
        for column in source.columns
    ]
    when = sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    return sa.Table(f"{source.name}_archive", Base.metadata, *columns, when)


# `cleanup_old_activities(archive=True)` moves activities here (agentexec.activity.retention).
ACTIVITY_ARCHIVE = _archive_of(Activity.__table__)
LOG_ARCHIVE = _archive_of(ActivityLog.__table__)

metadata = Base.metadata
# Without what an application adds to `Base`.
OWN_TABLES = tuple(metadata.sorted_tables)
