"""An application with an Alembic environment of its own, in the database that has agentexec's tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Column, Engine, Integer, Table, create_engine, inspect, make_url, text

from agentexec import migrations
from agentexec.core.db import create_schema, engine_for
from agentexec.store.models import OWN_TABLES, metadata
from harness.environments.embedded import EmbeddedEnvironment

pytestmark = pytest.mark.integration

ENV = """
from alembic import context
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Uuid

import agentexec as ax
from agentexec.migrations import include_name, include_object

{models}

context.configure(connection=context.config.attributes["connection"], render_as_batch=True, {options})
with context.begin_transaction():
    context.run_migrations()
"""
SCRIPT = '''"""${message}"""
import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
'''
OWN = """
target = MetaData()
Table("orders", target, Column("id", Integer, primary_key=True), Column("text", String(9), index=True))
"""
# Models of the application, and the options of its env.py.
APPLICATIONS = {
    "of its own": (OWN, "target_metadata=target, include_name=include_name"),
    "a filter of its own": (
        OWN + "mine = lambda name, kind, parents: name != 'elsewhere'",
        "target_metadata=target, include_name=lambda *given: include_name(*given) and mine(*given)",
    ),
    "an object filter only": (OWN, "target_metadata=target, include_object=include_object"),
    "both metadata": (
        OWN,
        "target_metadata=[target, ax.metadata], include_name=include_name, include_object=include_object",
    ),
    "agentexec's Base": (
        """
Table(
    "orders", ax.Base.metadata, Column("id", Integer, primary_key=True), Column("text", String(9), index=True),
    Column("task", Uuid, ForeignKey("agentexec_activity.id", name="fk_orders_task")),
    keep_existing=True,  # this file runs with every command
)
""",
        "target_metadata=ax.Base.metadata, include_name=include_name, include_object=include_object",
    ),
    "every schema": (OWN, "target_metadata=target, include_name=include_name, include_schemas=True"),
}
IN_A_SCHEMA = (
    OWN.replace("MetaData()", 'MetaData(schema="shop")'),
    "target_metadata=target, include_name=include_name, include_schemas=True",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database."""
    if request.param == "sqlite":
        engine = engine_for(f"sqlite:///{tmp_path / 'shared.db'}")
        yield engine
        engine.dispose()
        return
    servers: EmbeddedEnvironment = request.getfixturevalue("servers")
    name = f"shared_{uuid4().hex}"
    outside = engine_for(servers.endpoints.database_url).execution_options(isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(engine_for(servers.endpoints.database_url).url).set(database=name)
    engine = create_engine(url)
    yield engine
    engine.dispose()
    with outside.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    outside.dispose()


class Application:
    """An Alembic environment in a folder."""

    def __init__(self, folder: Path, engine: Engine, models: str, options: str) -> None:
        self.folder = folder / "migrations"
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(ENV.format(models=models, options=options))
        (self.folder / "script.py.mako").write_text(SCRIPT)
        self.engine = engine

    def config(self, connection: object) -> Config:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(self.folder))
        return config

    def generate(self) -> str:
        """The text of the migration that autogenerate writes."""
        with self.engine.begin() as connection:
            command.revision(self.config(connection), "orders", autogenerate=True, rev_id="a1")
        (found,) = (self.folder / "versions").glob("*.py")
        return found.read_text()

    def upgrade(self) -> None:
        with self.engine.begin() as connection:
            command.upgrade(self.config(connection), "head")

    def check(self) -> None:
        """Raises for a difference."""
        with self.engine.begin() as connection:
            command.check(self.config(connection))


def follow(application: Application, engine: Engine, *, schema: str | None = None) -> None:
    """The life of an application's tables beside those of agentexec."""
    before = migrations.revision(engine)
    written = application.generate()
    assert "orders" in written
    upgrades = written.partition("def upgrade")[2]
    for word in (
        "drop_table",
        "drop_index",
        "create_table('agentexec",
        "agentexec_activity_",
        "alembic_version",
    ):
        assert word not in upgrades.partition("def downgrade")[0], upgrades
    application.upgrade()
    application.check()
    found = inspect(engine)
    tables = set(found.get_table_names()) | set(found.get_table_names(schema=schema))
    assert {"orders", "alembic_version", migrations.VERSION_TABLE, *(t.name for t in OWN_TABLES)} <= tables
    assert migrations.differences(engine) == []
    assert migrations.revision(engine) == before
    assert migrations.upgrade(engine) == []
    with engine.begin() as connection:
        command.downgrade(application.config(connection), "base")
    assert migrations.differences(engine) == []


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_autogenerate_neither_drops_nor_claims_the_tables_of_agentexec(
    tmp_path: Path, engine: Engine, kind: str
) -> None:
    try:
        migrations.upgrade(engine)
        follow(Application(tmp_path, engine, *APPLICATIONS[kind]), engine)
    finally:  # what an env.py of this process added
        if "orders" in metadata.tables:
            metadata.remove(metadata.tables["orders"])


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_an_application_in_a_schema_of_its_own_is_left_alone_too(tmp_path: Path, engine: Engine) -> None:
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA shop"))
    follow(Application(tmp_path, engine, *IN_A_SCHEMA), engine, schema="shop")


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_tables_of_agentexec_in_a_schema_are_not_dropped(tmp_path: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA jobs"))
    url = engine.url.update_query_dict({"options": "-csearch_path=jobs"})
    elsewhere = create_engine(url)
    migrations.upgrade(elsewhere)
    application = Application(tmp_path, engine, *APPLICATIONS["every schema"])
    assert "drop_" not in application.generate().partition("def downgrade")[0]
    application.upgrade()
    application.check()
    assert migrations.differences(elsewhere) == []
    elsewhere.dispose()


def test_without_the_helper_autogenerate_drops_them(tmp_path: Path, engine: Engine) -> None:
    """What the helper is for."""
    migrations.upgrade(engine)
    written = Application(tmp_path, engine, OWN, "target_metadata=target").generate()
    assert "drop_table('agentexec_activity')" in written


def test_a_table_that_an_application_adds_to_the_base_is_not_one_of_agentexec(engine: Engine) -> None:
    table = Table("orders_of_an_application", metadata, Column("id", Integer, primary_key=True))
    try:
        create_schema(engine)
        assert not inspect(engine).has_table(table.name)
        assert migrations.differences(engine) == []
        assert migrations.upgrade(engine) == []
    finally:
        metadata.remove(table)
