"""Alembic's entry point: runs revisions on the connection of `agentexec.migrations`, in its transaction."""

from __future__ import annotations

from alembic import context

from agentexec.migrations import VERSION_TABLE
from agentexec.store.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
