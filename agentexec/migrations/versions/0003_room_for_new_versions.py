"""New rows of activities leave half of a page to their next versions. Older code is not affected."""

from __future__ import annotations

from alembic import op

from agentexec.store.dialects import ACTIVITY_TABLE

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change new pages only: it waits for no reader and no writer."""
    _alter("SET (fillfactor = 50)")


def downgrade() -> None:
    """Fill new pages again."""
    _alter("RESET (fillfactor)")


def _alter(change: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {ACTIVITY_TABLE} {change}")
