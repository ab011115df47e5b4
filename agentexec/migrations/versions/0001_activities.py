"""Activities, their logs, and the archives of both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from agentexec.store.dialects import PREFIX

revision = "0001"
down_revision = None

ACTIVITY = f"{PREFIX}activity"
LOG = f"{PREFIX}activity_log"
STATUSES = "status IN ('queued', 'running', 'complete', 'error', 'canceled')"


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
    _partial_index("idempotency_key", ["idempotency_key"], "idempotency_key IS NOT NULL", unique=True)
    _partial_index("pending", ["queue_name", "id"], "status IN ('queued', 'running')")
    _partial_index("locked", ["queue_name", "lock_key"], "status = 'running' AND lock_key IS NOT NULL")
    op.create_table(
        LOG,
        *_log_columns(),
        sa.PrimaryKeyConstraint("activity_id", "fence", "n"),
        sa.ForeignKeyConstraint(["activity_id"], [f"{ACTIVITY}.id"], ondelete="CASCADE"),
        sa.CheckConstraint(STATUSES, name=f"ck_{LOG}_status"),
    )
    op.create_index(f"ix_{LOG}_activity_id", LOG, ["activity_id"])
    op.create_index(f"ix_{LOG}_status", LOG, ["status"])
    for table, columns, key in (
        (ACTIVITY, _activity_columns(default=False), ["id"]),
        (LOG, _log_columns(default=False), ["activity_id", "fence", "n"]),
    ):
        archived_at = _time("archived_at", nullable=False, default=True)
        op.create_table(f"{table}_archive", *columns, archived_at, sa.PrimaryKeyConstraint(*key))


def downgrade() -> None:
    """Drop everything."""
    for table in (f"{LOG}_archive", f"{ACTIVITY}_archive", LOG, ACTIVITY):
        op.drop_table(table)


def _partial_index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(
        f"ix_{ACTIVITY}_{name}", ACTIVITY, columns, unique=unique, postgresql_where=where, sqlite_where=where
    )


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
