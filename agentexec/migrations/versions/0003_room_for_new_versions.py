"""Room for new versions in the pages of activities, and an index for lists by status. Older code is not affected.

The index locks the table against writes for about a second per million rows. One of that name and definition that was
created CONCURRENTLY before is kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentexec.store.dialects import ACTIVITY_TABLE

revision = "0003"
down_revision = "0002"

INDEX = f"ix_{ACTIVITY_TABLE}_status"


def upgrade() -> None:
    """Change new pages only, and create the index."""
    _alter("SET (fillfactor = 50)")
    where, columns = sa.text("status <> 'queued'"), ["status", "id"]
    op.create_index(
        INDEX, ACTIVITY_TABLE, columns, if_not_exists=True, postgresql_where=where, sqlite_where=where
    )


def downgrade() -> None:
    """Drop the index, and fill new pages again."""
    op.drop_index(INDEX, ACTIVITY_TABLE)
    _alter("RESET (fillfactor)")


def _alter(change: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {ACTIVITY_TABLE} {change}")
