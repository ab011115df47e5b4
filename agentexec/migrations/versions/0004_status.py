"""An index for lists of activities by status. Older code does not use it.

On Postgres it locks the table against writes for about a second per million rows; an index of that definition and
name that was created CONCURRENTLY before is kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentexec.store.dialects import ACTIVITY_TABLE

revision = "0004"
down_revision = "0003"

INDEX = f"ix_{ACTIVITY_TABLE}_status"


def upgrade() -> None:
    """Create the index."""
    where = sa.text("status <> 'queued'")
    columns = ["status", "id"]
    op.create_index(
        INDEX, ACTIVITY_TABLE, columns, if_not_exists=True, postgresql_where=where, sqlite_where=where
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index(INDEX, ACTIVITY_TABLE)
