"""Mistakes in Postgres and in its tables.

Their order matters: the dead rows are those that the mistake before has inserted.
"""

from __future__ import annotations

from harness.doctor import postgres_checks
from tests.mistakes.clinic import ROLES, Clinic
from tests.mistakes.mistake import FAIL, WARN, Mistake, activities, by_sql, system, wrong_variable
from tests.support.deadlock import make_deadlock

SCANS = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
FLUSH = "SELECT pg_stat_force_next_flush()"
MANY = """INSERT INTO agentexec_activity_log_archive (activity_id, fence, n, status, message, created_at)
    SELECT gen_random_uuid(), 0, n, 'queued', 'm', now() FROM generate_series(1, 10001) AS n"""


def old_transaction(clinic: Clinic) -> None:
    """No transaction of a test is a minute old: here any age counts as long."""
    clinic.environment.setattr(postgres_checks, "LONG_TRANSACTION", 0.0)
    clinic.other.execute("SELECT 1")


def end_of_transaction(clinic: Clinic) -> None:
    clinic.environment.setattr(postgres_checks, "LONG_TRANSACTION", 60.0)
    clinic.other.rollback()


MISTAKES = (
    Mistake(
        id="postgres.timeouts",
        grade=FAIL,
        make=by_sql("ALTER ROLE doctor_app SET statement_timeout = '50ms'"),
        repair=by_sql("ALTER ROLE doctor_app RESET statement_timeout"),
        says="statement_timeout 0.05 s",
    ),
    Mistake(
        id="postgres.timeouts",
        grade=WARN,
        make=by_sql("ALTER DATABASE postgres SET idle_session_timeout = '10s'"),
        repair=by_sql("ALTER DATABASE postgres RESET idle_session_timeout"),
        says="idle_session_timeout 10 s",
    ),
    Mistake(
        id="postgres.connections",
        grade=FAIL,
        make=by_sql("ALTER ROLE doctor_app CONNECTION LIMIT 20"),
        repair=by_sql("ALTER ROLE doctor_app CONNECTION LIMIT -1"),
        says="of 20 are free",
    ),
    Mistake(
        id="postgres.held-snapshots",
        grade=WARN,
        make=by_sql("SELECT pg_create_physical_replication_slot('forgotten', true)"),
        says="slot forgotten",
    ),
    Mistake(
        id="indexes.used",
        grade=FAIL,
        make=by_sql(
            activities(10_001, "complete"),
            FLUSH,  # before ANALYZE: the count of live rows would have them twice
            "ANALYZE agentexec_activity",
            FLUSH,
            *(f"ALTER ROLE doctor_app SET {name} = off" for name in SCANS),
        ),
        repair=by_sql(
            "TRUNCATE agentexec_activity, agentexec_activity_log",
            *(f"ALTER ROLE doctor_app RESET {name}" for name in SCANS),
            FLUSH,
        ),
        says="a look for work reads all",
    ),
    Mistake(id="postgres.fsync", grade=FAIL, make=system("fsync", "off")),
    Mistake(id="postgres.full-page-writes", grade=FAIL, make=system("full_page_writes", "off")),
    Mistake(id="postgres.autovacuum", grade=FAIL, make=system("autovacuum", "off")),
    Mistake(
        id="postgres.autovacuum",
        grade=FAIL,
        make=by_sql("ALTER TABLE agentexec_activity_log SET (autovacuum_enabled = false)"),
        says="off for agentexec_activity_log",
    ),
    Mistake(
        id="postgres.synchronous-commit", grade=WARN, make=system("synchronous_commit", "off"), says="SYSTEM"
    ),
    Mistake(
        id="postgres.synchronous-commit",
        grade=WARN,
        make=by_sql("ALTER ROLE doctor_app SET synchronous_commit = off"),
        says="ROLE doctor_app",
    ),
    Mistake(
        id="postgres.synchronous-commit",
        grade=WARN,
        make=by_sql("ALTER DATABASE postgres SET synchronous_commit = off"),
        says="DATABASE postgres",
    ),
    Mistake(
        id="postgres.time-zone",
        grade=WARN,
        make=by_sql("ALTER ROLE doctor_app SET timezone = 'Europe/Berlin'"),
        repair=by_sql("ALTER ROLE doctor_app RESET timezone"),
    ),
    Mistake(
        id="postgres.primary",
        grade=FAIL,
        make=by_sql("ALTER ROLE doctor_app SET default_transaction_read_only = on"),
        repair=by_sql("ALTER ROLE doctor_app RESET default_transaction_read_only"),
    ),
    Mistake(
        id="postgres.deadlocks",
        grade=WARN,
        make=lambda clinic: make_deadlock(clinic.owner_of_postgres),
        repair=by_sql("SELECT pg_stat_reset()"),
    ),
    Mistake(id="postgres.long-transactions", grade=WARN, make=old_transaction, repair=end_of_transaction),
    wrong_variable("postgres.connections", FAIL, "AGENTEXEC_NUM_WORKERS", "80"),
    wrong_variable("postgres.connections", WARN, "AGENTEXEC_NUM_WORKERS", "10", "if handlers enqueue"),
    Mistake(
        id="indexes.present",
        grade=FAIL,
        make=by_sql("DROP INDEX ix_agentexec_activity_pending"),
        says="ix_agentexec_activity_pending",
    ),
    Mistake(
        id="indexes.valid",
        grade=FAIL,
        make=by_sql(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_agentexec_activity_status'::regclass"
        ),
    ),
    Mistake(
        id="tables.rights",
        grade=FAIL,
        make=by_sql("REVOKE INSERT ON agentexec_activity_log FROM doctor_app"),
        says="no INSERT on agentexec_activity_log",
    ),
    Mistake(id="tables.role-superuser", grade=FAIL, make=by_sql("ALTER ROLE doctor_app CREATEDB")),
    Mistake(id="tables.role-changes", grade=FAIL, make=by_sql("GRANT CREATE ON SCHEMA public TO doctor_app")),
    Mistake(
        id="tables.role-changes",
        grade=FAIL,
        make=by_sql(
            "GRANT pg_read_all_data TO doctor_app", "ALTER TABLE agentexec_activity OWNER TO doctor_app"
        ),
        repair=by_sql("ALTER TABLE agentexec_activity OWNER TO harness", ROLES.split(";")[1]),
        says="owns the tables",
    ),
    Mistake(
        id="tables.logged", grade=FAIL, make=by_sql("ALTER TABLE agentexec_activity_archive SET UNLOGGED")
    ),
    Mistake(
        id="tables.migrations",
        grade=FAIL,
        make=by_sql("UPDATE agentexec_alembic_version SET version_num = '0002'"),
        repair=by_sql("UPDATE agentexec_alembic_version SET version_num = '0003'"),
        says="at 0002, the newest is 0003",
    ),
    Mistake(
        id="tables.present",
        grade=FAIL,
        make=by_sql("ALTER TABLE agentexec_activity_log RENAME percentage TO percent"),
        repair=by_sql("ALTER TABLE agentexec_activity_log RENAME percent TO percentage"),
        says="agentexec_activity_log lacks percentage",
    ),
    Mistake(
        id="tables.statistics", grade=WARN, make=by_sql(MANY, FLUSH), says="agentexec_activity_log_archive"
    ),
    Mistake(
        id="tables.dead-rows",
        grade=WARN,
        make=by_sql("DELETE FROM agentexec_activity_log_archive", FLUSH),
        says="10,001 dead",
    ),
)
