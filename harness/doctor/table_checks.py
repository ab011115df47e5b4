"""Checks of agentexec's tables: rights, migrations, indexes, statistics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from importlib.resources import files
from typing import Any

from sqlalchemy import Index
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from agentexec.core.requirements import RIGHTS
from agentexec.migrations import VERSION_TABLE
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE
from agentexec.store.models import OWN_TABLES
from agentexec.store.status import PENDING, sql_in
from harness.doctor.area import Area
from harness.doctor.check import (
    Box,
    CheckFinding,
    check,
    failed,
    passed,
    psql,
    warned,
)
from harness.doctor.installation import Installation
from harness.doctor.unanswered import CannotTell

_tables = partial(check, area=Area.TABLES)
MANY_ROWS = 10_000
UPGRADE = "agentexec db upgrade"


@_tables(
    "tables.present",
    asks="Are all tables there, with every column of this version?",
    why="No task can be recorded.",
    remedy="Run the migrations with the role that owns the schema.",
    commands=(UPGRADE,),
)
def present(site: Installation) -> CheckFinding:
    """Through the search path of the role, as agentexec finds them."""
    problems = []
    for table in OWN_TABLES:
        found = {
            row.attname
            for row in site.postgres.rows(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%(name)s))"
                " AND attnum > 0 AND NOT attisdropped",
                name=table.name,
            )
        }
        missing = [column.name for column in table.columns if column.name not in found]
        if missing:
            problems.append(
                f"{table.name} lacks {', '.join(missing)}" if found else f"there is no {table.name}"
            )
    return failed("; ".join(problems)) if problems else passed(f"{len(OWN_TABLES)} tables")


@_tables(
    "tables.migrations",
    box=Box.MIGRATIONS,
    asks="Is the database at the newest revision of this version of agentexec?",
    why="A release that needs a column or an index which is not there fails, or scans the whole table.",
    remedy="Run the migrations with the role that owns the schema, before the new release starts.",
    commands=(UPGRADE,),
    scenario="rolling-migration",
)
def migrations(site: Installation) -> CheckFinding:
    """Alembic's version table beside the newest file of agentexec's migrations."""
    if not _exists(site, VERSION_TABLE):
        return failed(f"there is no {VERSION_TABLE}: no migration has run")
    found = [row.version_num for row in site.postgres.rows(f'SELECT version_num FROM "{VERSION_TABLE}"')]
    seen = f"at {', '.join(found) or 'no revision'}, the newest is {newest_revision()}"
    return passed(seen) if found == [newest_revision()] else failed(seen)


@_tables(
    "tables.rights",
    asks="May the role read and write what a pool needs?",
    why="Workers and producers get an error for every task. Grants that ran before the tables existed cover none.",
    remedy="Grant the missing rights, after the tables exist.",
)
def rights(site: Installation) -> CheckFinding:
    """By has_table_privilege; retention also deletes, with a role of its own if you like."""
    missing = []
    _need_tables(site)
    for table, wanted in RIGHTS.items():
        rows = site.postgres.rows(
            "SELECT r, current_user AS role FROM unnest(%(wanted)s::text[]) AS r"
            " WHERE NOT has_table_privilege(to_regclass(quote_ident(%(table)s)), r)",
            wanted=list(wanted),
            table=table,
        )
        if rows:
            granted = ", ".join(row.r for row in rows)
            missing.append((f"no {granted} on {table}", f'GRANT {granted} ON {table} TO "{rows[0].role}"'))
    if missing:
        return failed("; ".join(seen for seen, _ in missing), "", *(psql(grant) for _, grant in missing))
    return passed("SELECT, INSERT and UPDATE as far as needed")


@_tables(
    "tables.role-superuser",
    asks="Is the application's role no superuser, and may it create no roles and databases?",
    why="A leaked DATABASE_URL, or SQL injected into the application, reaches the whole cluster.",
    remedy="Use a role with the rights of the production guide in DATABASE_URL.",
)
def role_superuser(site: Installation) -> CheckFinding:
    """The role of this connection."""
    row = site.postgres.row(
        "SELECT quote_ident(rolname) AS name, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles"
        " WHERE rolname = current_user"
    )
    has = [
        name
        for name, yes in (
            ("SUPERUSER", row.rolsuper),
            ("CREATEROLE", row.rolcreaterole),
            ("CREATEDB", row.rolcreatedb),
        )
        if yes
    ]
    repair = psql(f"ALTER ROLE {row.name} {' '.join(f'NO{name}' for name in has)}")
    return failed(f"{row.name} has {', '.join(has)}", "", repair) if has else passed(f"{row.name} is limited")


@_tables(
    "tables.role-changes",
    asks="May the application's role change no tables?",
    why="An application that can drop the record can lose every task by one mistake.",
    remedy="Let a migration role own the tables, and revoke CREATE from the application's role.",
)
def role_changes(site: Installation) -> CheckFinding:
    """CREATE on the schema of the tables, and their ownership, also by membership."""
    row = site.postgres.row(
        """SELECT quote_ident(current_user) AS name, quote_ident(s.nspname) AS schema,
            has_schema_privilege(s.oid, 'CREATE') AS creates, pg_has_role(c.relowner, 'USAGE') AS owns
        FROM (SELECT to_regclass(quote_ident(%(table)s)) AS oid) AS t LEFT JOIN pg_class AS c USING (oid)
        LEFT JOIN pg_namespace AS s ON s.oid = coalesce(c.relnamespace, current_schema()::regnamespace)""",
        table=next(iter(RIGHTS)),
    )
    if row.owns:
        return failed(f"{row.name} owns the tables or is a member of their owner")
    revoke = psql(f"REVOKE CREATE ON SCHEMA {row.schema} FROM {row.name}, PUBLIC")
    return (
        failed(f"{row.name} may create tables in {row.schema}", "", revoke)
        if row.creates
        else passed("it may not")
    )


@_tables(
    "tables.logged",
    asks="Are the tables written to the log of the server?",
    why="Postgres empties an UNLOGGED table after a crash, and no standby has it: every task is lost.",
    remedy="Set the tables LOGGED.",
)
def logged(site: Installation) -> CheckFinding:
    """relpersistence of both tables and their archives."""
    rows = site.postgres.rows(
        "SELECT relname FROM pg_class WHERE relname = ANY(%(names)s) AND relkind IN ('r', 'p')"
        " AND relpersistence <> 'p' AND pg_table_is_visible(oid)",
        names=[table.name for table in OWN_TABLES],
    )
    repair = [psql(f"ALTER TABLE {row.relname} SET LOGGED") for row in rows]
    names = ", ".join(row.relname for row in rows)
    return failed(f"not logged: {names}", "", *repair) if rows else passed("all are")


@_tables(
    "indexes.present",
    asks="Are all indexes there?",
    why="Each look for work, each page of a list and each clean-up reads the whole table instead.",
    remedy="Create the missing indexes; CONCURRENTLY does not block the workers.",
)
def indexes_present(site: Installation) -> CheckFinding:
    """By name; `indexes.valid` asks whether they are complete."""
    _need_tables(site)
    found = {row.name for row in site.postgres.rows(_INDEXES, names=[str(one.name) for one in _indexes()])}
    missing = [one for one in _indexes() if one.name not in found]
    names = ", ".join(str(one.name) for one in missing)
    return (
        failed(f"missing: {names}", "", *map(_create, missing))
        if missing
        else passed(f"{len(found)} indexes")
    )


@_tables(
    "indexes.valid",
    asks="Are the indexes complete?",
    why="An index whose CREATE INDEX CONCURRENTLY broke off costs every write and serves no query.",
    remedy="Build the index again.",
)
def indexes_valid(site: Installation) -> CheckFinding:
    """indisvalid and indisready."""
    rows = site.postgres.rows(_INDEXES, names=[str(one.name) for one in _indexes()])
    broken = [row.name for row in rows if not row.valid]
    repair = [psql(f"REINDEX INDEX CONCURRENTLY {name}") for name in broken]
    return failed(f"invalid: {', '.join(broken)}", "", *repair) if broken else passed("all are")


@_tables(
    "indexes.used",
    asks="Does the planner use the indexes, with the statistics that it has now?",
    why="Each look for work, each page of a list and each clean-up reads the whole table instead.",
    remedy="Analyze the tables (tables.statistics), and reset enable_indexscan and the cost settings of the role.",
    commands=(psql(f"ANALYZE {', '.join(RIGHTS)}"),),
)
def indexes_used(site: Installation) -> CheckFinding:
    """By EXPLAIN, which runs nothing; only tables with more than 10,000 rows, since others are read whole by right."""
    sizes = {row.relname: row.n_live_tup for row in _activity_of_tables(site) if row.n_live_tup > MANY_ROWS}
    if not sizes:
        raise CannotTell(f"no table has more than {MANY_ROWS:,} rows yet")
    whole = {
        name: sorted(tables)
        for name, query in _QUERIES.items()
        if (tables := sizes.keys() & _read_whole(site.postgres.row(f"EXPLAIN (FORMAT JSON) {query}")[0]))
    }
    places = [
        f"{name} reads all {sizes[one]:,} rows of {one}" for name, tables in whole.items() for one in tables
    ]
    return failed("; ".join(places)) if places else passed(f"by all {len(_QUERIES)} queries")


@_tables(
    "tables.statistics",
    asks="Are the statistics of the tables fresh?",
    why="The planner chooses a scan of the whole table, as it does for a table that it takes for empty.",
    remedy="Analyze the tables, and see why autovacuum does not.",
)
def statistics(site: Installation) -> CheckFinding:
    """Only tables with more than 10,000 rows."""
    stale = [
        row.relname
        for row in _activity_of_tables(site)
        if row.n_live_tup > MANY_ROWS and (not row.analyzed or row.n_mod_since_analyze > row.n_live_tup)
    ]
    names = ", ".join(stale)
    return (
        warned(f"stale: {names}", "", psql(f"ANALYZE {names}")) if stale else passed("fresh, or small tables")
    )


@_tables(
    "tables.dead-rows",
    asks="Are at most a fifth of the rows dead?",
    why="Scans for work read dead versions too. Beside a long transaction they grow without limit.",
    remedy="Find what holds vacuum back (postgres.long-transactions), then vacuum.",
)
def dead_rows(site: Installation) -> CheckFinding:
    """Only tables with more than 10,000 dead rows."""
    bloated = [
        f"{row.relname}: {row.n_dead_tup:,} dead beside {row.n_live_tup:,}"
        for row in _activity_of_tables(site)
        if row.n_dead_tup > max(MANY_ROWS, row.n_live_tup / 4)
    ]
    names = ", ".join(table.name for table in OWN_TABLES)
    return warned("; ".join(bloated), "", psql(f"VACUUM {names}")) if bloated else passed("few")


@cache
def newest_revision() -> str:
    """The newest revision of agentexec's migrations."""
    names = [entry.name for entry in (files("agentexec.migrations") / "versions").iterdir()]
    return max(name.partition("_")[0] for name in names if name[:1].isdigit())


_INDEXES = """SELECT c.relname::text AS name, i.indisvalid AND i.indisready AS valid
    FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid
    WHERE c.relname = ANY(%(names)s) AND pg_table_is_visible(c.oid)"""


# What workers, producers, the API and retention ask most.
_QUERIES = {
    "a look for work": f"SELECT id FROM {ACTIVITY_TABLE} WHERE queue_name = 'agentexec' AND status {sql_in(PENDING)}"
    " AND id > '00000000-0000-0000-0000-000000000000' ORDER BY id LIMIT 100",
    "a start": f"SELECT fence FROM {ACTIVITY_TABLE} WHERE id = '00000000-0000-0000-0000-000000000000'",
    "an idempotency key": f"SELECT id FROM {ACTIVITY_TABLE} WHERE idempotency_key = 'k'",
    "an activity's log": f"SELECT n FROM {LOG_TABLE} WHERE activity_id = '00000000-0000-0000-0000-000000000000'",
    "a page of a list": f"SELECT id FROM {ACTIVITY_TABLE} ORDER BY updated_at DESC LIMIT 50",
    "a clean-up": f"SELECT id FROM {ACTIVITY_TABLE} WHERE updated_at < now() - interval '100 years'",
}


def _read_whole(plans: Any) -> set[str]:
    """The tables that a plan reads from the beginning to the end."""
    plan = plans[0]["Plan"]
    found, waiting = set(), [plan]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", ())
        if node["Node Type"] == "Seq Scan":
            found.add(node["Relation Name"])
    return found


def _indexes() -> Iterator[Index]:
    for table in OWN_TABLES:
        yield from sorted(table.indexes, key=lambda one: str(one.name))


def _create(index: Index) -> str:
    statement = CreateIndex(index).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    text = " ".join(str(statement).split())
    return psql(text.replace(" INDEX ", " INDEX CONCURRENTLY IF NOT EXISTS ", 1))


def _exists(site: Installation, table: str) -> bool:
    return bool(
        site.postgres.row("SELECT to_regclass(quote_ident(%(t)s)) IS NOT NULL AS there", t=table).there
    )


def _need_tables(site: Installation) -> None:
    if not all(_exists(site, table) for table in RIGHTS):
        raise CannotTell("there are no tables (tables.present)")


def _activity_of_tables(site: Installation) -> list[Any]:
    _need_tables(site)
    return site.postgres.rows(
        "SELECT relname::text, n_live_tup, n_dead_tup, n_mod_since_analyze,"
        " coalesce(last_analyze, last_autoanalyze) IS NOT NULL AS analyzed FROM pg_stat_user_tables"
        " WHERE relname = ANY(%(names)s) AND pg_table_is_visible(relid)",
        names=[table.name for table in OWN_TABLES],
    )
