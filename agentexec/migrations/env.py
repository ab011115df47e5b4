"""Alembic's entry point: runs revisions on the connection of `agentexec.migrations`, in its transaction."""

from __future__ import annotations

from alembic import context

from agentexec.migrations import VERSION_TABLE
from agentexec.store.models import metadata

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    on_version_apply=lambda step, **_: attributes["applied"].append(step.up_revision_id),
)
with context.begin_transaction():
    context.run_migrations()
