"""Migrations and models agree, under any prefix, and differences are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from agentexec import migrations
from agentexec.core.db import create_schema, engine_for
from agentexec.errors import ConfigurationError
from agentexec.migrations import describe
from agentexec.store import statements
from agentexec.store.models import Base
from tests.support.record import new_activity, row_of

# In a separate process, since the prefix is read once; prints the tables after an upgrade.
NAMES = """
import json, os
from sqlalchemy import inspect
from agentexec import migrations
from agentexec.core.db import engine_for
engine = engine_for(os.environ["DATABASE_URL"])
migrations.upgrade(engine)
found = inspect(engine)
tables = found.get_table_names()
print(json.dumps({
    "tables": sorted(tables),
    "indexes": sorted(i["name"] for t in tables for i in found.get_indexes(t)),
    "refers": sorted(k["referred_table"] for t in tables for k in found.get_foreign_keys(t)),
    "checks": sorted(c["name"] for t in tables for c in found.get_check_constraints(t)),
    "differences": migrations.differences(engine),
}))
engine.dispose()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = engine_for(f"sqlite:///{tmp_path / 'record.db'}")
    yield engine
    engine.dispose()


def test_an_upgrade_from_nothing_equals_the_models(engine: Engine) -> None:
    assert any("is missing" in line for line in migrations.differences(engine))
    assert migrations.upgrade(engine) == ["0001", "0002", "0003"]
    assert migrations.differences(engine) == []
    assert migrations.revision(engine) == "0003"
    assert migrations.upgrade(engine) == []


def test_tables_that_were_made_without_alembic_are_adopted(engine: Engine) -> None:
    create_schema(engine)
    assert migrations.upgrade(engine) == []
    assert migrations.revision(engine) == "0003"


@pytest.mark.parametrize(("made", "missing"), [("0001", ["0002", "0003"]), ("0002", ["0003"])])
def test_older_tables_that_were_made_without_alembic_are_adopted_and_upgraded(
    engine: Engine, made: str, missing: list[str]
) -> None:
    migrations.upgrade(engine)
    move(engine, command.downgrade, made)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {migrations.VERSION_TABLE}"))
    assert migrations.upgrade(engine) == missing
    assert migrations.differences(engine) == []


def test_every_revision_goes_down_and_up_again_and_keeps_the_rows(engine: Engine) -> None:
    migrations.upgrade(engine)
    activity = new_activity()
    with engine.begin() as connection:
        statements.record_enqueued(connection, [activity])
    move(engine, command.downgrade, "0001")
    assert migrations.upgrade(engine) == ["0002", "0003"]
    assert migrations.differences(engine) == []
    assert row_of(engine, activity.id).status == "queued"


def move(engine: Engine, to: Callable[[Config, str], None], revision: str) -> None:
    """Run an Alembic command as `migrations.upgrade` does."""
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection, "applied": []})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        to(config, revision)


def test_unknown_tables_are_not_touched(engine: Engine) -> None:
    create_schema(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_agentexec_activity_log_status"))
    with pytest.raises(ConfigurationError, match="ix_agentexec_activity_log_status"):
        migrations.upgrade(engine)
    assert migrations.revision(engine) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP INDEX ix_agentexec_activity_updated_at", "index ix_agentexec_activity_updated_at of "),
        ("ALTER TABLE agentexec_activity_log ADD COLUMN mood text", "mood is not in the models"),
        ("DROP TABLE agentexec_activity_archive", "table agentexec_activity_archive is missing"),
    ],
)
def test_a_difference_is_named(engine: Engine, change: str, said: str) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text(change))
    assert any(said in line for line in migrations.differences(engine))


def test_tables_of_other_applications_are_no_difference(engine: Engine) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customers (id int)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
    assert migrations.differences(engine) == []


def names_under(prefix: str | None, folder: Path) -> dict[str, list[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")}
    environment |= {"DATABASE_URL": f"sqlite:///{folder / 'prefixed.db'}"}
    if prefix is not None:
        environment["AGENTEXEC_TABLE_PREFIX"] = prefix
    run = subprocess.run(
        [sys.executable, "-c", NAMES], env=environment, capture_output=True, text=True, check=True
    )
    answer: dict[str, list[str]] = json.loads(run.stdout)
    return answer


def test_every_name_follows_the_prefix(tmp_path: Path) -> None:
    found = names_under("prod_", tmp_path)
    assert found["differences"] == []
    assert found["tables"] == [
        "prod_activity",
        "prod_activity_archive",
        "prod_activity_log",
        "prod_activity_log_archive",
        "prod_alembic_version",
    ]
    assert len(found["indexes"]) >= 6
    assert all(name.startswith("ix_prod_activity") for name in found["indexes"])
    assert all(name.startswith("ck_prod_activity") for name in found["checks"])
    assert found["refers"] == ["prod_activity"]


def test_two_installations_share_a_database(tmp_path: Path) -> None:
    names_under("prod_", tmp_path)
    found = names_under("staging_", tmp_path)
    assert {"prod_activity", "staging_activity", "staging_alembic_version"} <= set(found["tables"])
    assert found["differences"] == []


def test_the_four_indexes_of_the_guide_are_there_by_name() -> None:
    names = {index.name for table in Base.metadata.tables.values() for index in table.indexes}
    assert names >= {
        "ix_agentexec_activity_agent_id",
        "ix_agentexec_activity_log_activity_id",
        "ix_agentexec_activity_log_status",
        "ix_agentexec_activity_updated_at",
    }


def test_an_unknown_kind_of_difference_is_still_described() -> None:
    assert list(describe(("add_sequence", "numbers"))) == ["add_sequence: numbers"]


def test_without_alembic_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    for call in (migrations.upgrade, migrations.differences, migrations.revision):
        with pytest.raises(ConfigurationError, match=r"pip install 'agentexec-reference\[migrations\]'"):
            call(engine)
