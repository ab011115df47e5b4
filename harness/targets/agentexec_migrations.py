"""agentexec's own migrations while its pools run: to the revision before the newest one, and to the newest one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from agentexec import migrations


def migrate(engine: Engine, *, previous: bool) -> int:
    """Bring the tables to the newest revision, or to the one before; returns how many revisions that took.

    Tables of a run have no recorded revision and are those of the newest one.
    """
    steps: list[str] = []
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection, "applied": steps})
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        if not inspect(connection).has_table(migrations.VERSION_TABLE):
            command.stamp(config, "head")
        steps.clear()
        if previous:
            newest = ScriptDirectory.from_config(config).get_revision("head")
            command.downgrade(config, str(newest.down_revision))
        else:
            command.upgrade(config, "head")
    return len(steps)
