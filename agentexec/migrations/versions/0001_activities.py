"""Activities, their logs, and the archives of both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from agentexec.store.models import PREFIX

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ACTIVITY = f"{PREFIX}activity"
LOG = f"{PREFIX}activity_log"
STATUSES = "status IN ('queued', 'running', 'complete', 'error', 'canceled')"
PENDING = sa.text("status IN ('queued', 'running')")
LOCKED = sa.text("status = 'running' AND lock_key IS NOT NULL")
KEYED = sa.text("idempotency_key IS NOT NULL")


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        ACTIVITY,
        *_activity_columns(),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint(STATUSES, name=f"ck_{ACTIVITY}_status"),
    )
    op.create_index(f"ix_{ACTIVITY}_agent_id", ACTIVITY, ["agent_id"], unique=True)
    op.create_index(f"ix_{ACTIVITY}_updated_at", ACTIVITY, [sa.text("updated_at DESC")])
    op.create_index(
        f"ix_{ACTIVITY}_idempotency_key",
        ACTIVITY,
        ["idempotency_key"],
        unique=True,
        postgresql_where=KEYED,
        sqlite_where=KEYED,
    )
    pending = f"ix_{ACTIVITY}_pending"
    op.create_index(pending, ACTIVITY, ["queue_name", "id"], postgresql_where=PENDING, sqlite_where=PENDING)
    locked = f"ix_{ACTIVITY}_locked"
    op.create_index(
        locked, ACTIVITY, ["queue_name", "lock_key"], postgresql_where=LOCKED, sqlite_where=LOCKED
    )
    op.create_table(
        LOG,
        *_log_columns(),
        sa.PrimaryKeyConstraint("activity_id", "fence", "n"),
        sa.ForeignKeyConstraint(["activity_id"], [f"{ACTIVITY}.id"], ondelete="CASCADE"),
        sa.CheckConstraint(STATUSES, name=f"ck_{LOG}_status"),
    )
    op.create_index(f"ix_{LOG}_activity_id", LOG, ["activity_id"])
    op.create_index(f"ix_{LOG}_status", LOG, ["status"])
    archived = _time("archived_at", nullable=False, default=True)
    op.create_table(
        f"{ACTIVITY}_archive", *_activity_columns(default=False), archived, sa.PrimaryKeyConstraint("id")
    )
    op.create_table(
        f"{LOG}_archive",
        *_log_columns(default=False),
        _time("archived_at", nullable=False, default=True),
        sa.PrimaryKeyConstraint("activity_id", "fence", "n"),
    )


def downgrade() -> None:
    """Drop everything."""
    for table in (f"{LOG}_archive", f"{ACTIVITY}_archive", LOG, ACTIVITY):
        op.drop_table(table)


def _activity_columns(*, default: bool = True) -> list[sa.Column[object]]:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("queue_name", sa.String(128), nullable=False),
        sa.Column("agent_type", sa.String(255), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("context", json, nullable=False),
        sa.Column("metadata", json, nullable=True),
        sa.Column("result", json, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("lock_key", sa.String(255), nullable=True),
        _time("created_at", nullable=False, default=default),
        _time("updated_at", nullable=False, default=default),
        _time("run_after", nullable=True),
        _time("dispatched_at", nullable=True),
        _time("cancel_requested_at", nullable=True),
    ]


def _log_columns(*, default: bool = True) -> list[sa.Column[object]]:
    return [
        sa.Column("activity_id", sa.Uuid(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("percentage", sa.SmallInteger(), nullable=True),
        _time("created_at", nullable=False, default=default),
    ]


def _time(name: str, *, nullable: bool, default: bool = False) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=nullable, server_default=sa.func.now() if default else None
    )
