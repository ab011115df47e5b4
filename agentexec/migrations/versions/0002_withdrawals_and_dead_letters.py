"""Requests that the queue still has to get, and dead letters, in the record. Older code ignores both columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentexec.store.dialects import PREFIX

revision = "0002"
down_revision = "0001"

ACTIVITY = f"{PREFIX}activity"
COLUMNS = ("withdraw_since", "dead_lettered_at")
INDEXES = {"withdraw": ["queue_name", "id"], "dead_letters": ["queue_name", "dead_lettered_at"]}


def upgrade() -> None:
    """Add the columns, and an index for each that holds the few rows with a value."""
    for table in (ACTIVITY, f"{ACTIVITY}_archive"):
        for name in COLUMNS:
            op.add_column(table, sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    for (name, columns), column in zip(INDEXES.items(), COLUMNS, strict=True):
        where = sa.text(f"{column} IS NOT NULL")
        index = f"ix_{ACTIVITY}_{name}"
        op.create_index(index, ACTIVITY, columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    """Drop both."""
    for name in INDEXES:
        op.drop_index(f"ix_{ACTIVITY}_{name}", ACTIVITY)
    for table in (ACTIVITY, f"{ACTIVITY}_archive"):
        for name in COLUMNS:
            op.drop_column(table, name)
