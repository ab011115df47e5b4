"""One mistake at a time on real servers: the doctor finds it by its id, finds nothing else, and sees the repair."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis

from agentexec import migrations
from agentexec.config import load_settings
from agentexec.core.db import engine_for
from agentexec.ops.monitor import monitoring
from agentexec.queue.keys import QueueKeys
from agentexec.worker.agreement import shared
from harness.cli import main
from harness.doctor import postgres_checks
from harness.doctor.check import Box, Grade, failed, skipped
from harness.doctor.examination import DoctorReport, examine, grades
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.postgres_reader import PostgresReader
from harness.doctor.redis_reader import RedisReader
from harness.doctor.registry import CHECKS
from harness.doctor.unanswered import CannotTell, NoAnswer
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.ports import LOOPBACK, free_port
from tests.support.deadlock import make_deadlock
from tests.support.production import wait_for

pytestmark = pytest.mark.integration

QUEUE = "doctor"
KEYS = QueueKeys.of(QUEUE)
PASSWORD = "of-the-doctor"
GOOD = {
    "AGENTEXEC_QUEUE_NAME": QUEUE,
    "AGENTEXEC_TASK_TIME_LIMIT": "200",
    "AGENTEXEC_TASK_SOFT_TIME_LIMIT": "100",
    "AGENTEXEC_LOG_FORMAT": "json",
    "AGENTEXEC_METRICS_PORT": "9100",
    "AGENTEXEC_API_KEYS": "sixteen-characters-and-more",
}
# By the measure of this machine, which may be busy.
MEASURED = {"redis.latency"}
# What servers on loopback without an archive are.
AS_EMBEDDED = {"postgres.tls", "redis.tls", "postgres.archiving"}
ROLES = f"""
CREATE ROLE doctor_app LOGIN PASSWORD '{PASSWORD}';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO doctor_app;
CREATE ROLE doctor_reader LOGIN PASSWORD '{PASSWORD}';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctor_reader;
"""
# Every command that the doctor sends, and no other.
COMMANDS = [
    "ping",
    "info",
    "config|get",
    "slowlog|get",
    "time",
    "scan",
    "zcard",
    "zcount",
    "zscore",
    "hlen",
    "hgetall",
]


@dataclass(kw_only=True)
class Clinic:
    """An installation on real servers: its owner's connections, and what the doctor gets."""

    owner: psycopg.Connection
    server: redis.Redis
    environment: pytest.MonkeyPatch
    database_url: str
    redis_url: str
    other: psycopg.Connection
    owner_of_postgres: str
    owner_of_redis: str
    login: str

    def options(self, database_url: str | None = None) -> DoctorOptions:
        return DoctorOptions(database_url=database_url or self.database_url, redis_url=self.redis_url)

    def report(self, database_url: str | None = None) -> DoctorReport:
        with Installation(self.options(database_url)) as site:
            return examine(site, (), today=datetime.now(UTC).date())

    def sql(self, *statements: str) -> None:
        """Run statements; a reload is waited for, since the postmaster reloads before the session does."""
        for statement in statements:
            if "pg_reload_conf" in statement:
                self._reload()
            else:
                self.owner.execute(statement.encode())

    def _reload(self) -> None:
        loaded = "SELECT pg_conf_load_time()"
        before = self.owner.execute(loaded).fetchone()
        self.owner.execute("SELECT pg_reload_conf()")
        wait_for(lambda: self.owner.execute(loaded).fetchone() != before)

    def put(self, **columns: str) -> None:
        """Insert an activity; the values are SQL."""
        values = {
            "id": f"'{uuid4()}'",
            "agent_id": f"'{uuid4()}'",
            "queue_name": f"'{QUEUE}'",
            "agent_type": "'t'",
            "status": "'queued'",
            "fence": "0",
            "attempt": "0",
            "failures": "0",
            "priority": "0",
            "context": "'{}'",
            "dispatched_at": "now()",
        } | columns
        self.sql(
            f"INSERT INTO agentexec_activity ({', '.join(values)}) VALUES ({', '.join(values.values())})"
        )

    def run(self, command: str) -> None:
        """Run a command of a remedy as the owner."""
        program, *words = shlex.split(command)
        if program == "psql":
            self.sql(words[-1])
        else:
            assert program == "redis-cli"
            self.send(*words[2:])

    def send(self, *words: str) -> None:
        """Send a command to Redis as the owner."""
        self.server.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py does not annotate it


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    with ExitStack() as stack:
        servers = stack.enter_context(EmbeddedEnvironment())
        urls = servers.endpoints
        engine = engine_for(urls.database_url)
        stack.callback(engine.dispose)
        migrations.upgrade(engine)
        owner = stack.enter_context(psycopg.connect(urls.database_url, autocommit=True))
        owner.execute(ROLES.encode())
        server = stack.enter_context(redis.Redis.from_url(urls.redis_url, decode_responses=True))
        server.acl_setuser(
            "doctor",
            enabled=True,
            passwords=[f"+{PASSWORD}"],
            keys=["*"],
            commands=[f"+{one}" for one in COMMANDS],
        )
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in GOOD.items():
            environment.setenv(name, value)
        server.config_set("maxmemory", "256mb")
        server.config_set("slowlog-log-slower-than", 100_000)  # µs
        for worker in ("w1", "w2"):
            server.hset(KEYS.workers, worker, "host|1|1")
            server.zadd(KEYS.seen, {worker: 4e12})
        server.hset(
            KEYS.cfg, mapping={f"set:{name}": value for name, value in shared(load_settings()).items()}
        )
        yield Clinic(
            owner=owner,
            server=server,
            environment=environment,
            database_url=at(urls.database_url, f"doctor_app:{PASSWORD}"),
            redis_url=at(urls.redis_url, f"doctor:{PASSWORD}"),
            other=stack.enter_context(psycopg.connect(at(urls.database_url, f"doctor_app:{PASSWORD}"))),
            owner_of_postgres=urls.database_url,
            owner_of_redis=urls.redis_url,
            login=urlsplit(urls.redis_url).password or "",
        )


@pytest.fixture(scope="module")
def healthy(clinic: Clinic) -> DoctorReport:
    return clinic.report()


def at(url: str, login: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()


def compared(report: DoctorReport) -> dict[str, Grade]:
    """The grades without those of measurements."""
    return {name: grade for name, grade in grades(report).items() if name not in MEASURED}


def turned_red(report: DoctorReport, healthy: DoctorReport) -> dict[str, Grade]:
    """The WARN and FAIL that a healthy installation does not have; a mistake may hide other questions (SKIP)."""
    before, red = compared(healthy), (Grade.WARN, Grade.FAIL)
    return {
        name: grade for name, grade in compared(report).items() if grade in red and grade is not before[name]
    }


Break = Callable[[Clinic], None]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """`repair` None stands for the commands of the doctor's own remedy."""

    id: str
    grade: Grade
    make: Break
    repair: Break | None = None
    says: str = ""


def by_sql(*statements: str) -> Break:
    return lambda clinic: clinic.sql(*statements)


def system(setting: str, value: str) -> Break:
    return by_sql(f"ALTER SYSTEM SET {setting} = {value}", "SELECT pg_reload_conf()")


def config(name: str, value: str) -> Break:
    return lambda clinic: clinic.send("CONFIG", "SET", name, value)


def variable(name: str, value: str | None) -> Break:
    if value is None:
        return lambda clinic: clinic.environment.delenv(name)
    return lambda clinic: clinic.environment.setenv(name, value)


def wrong_variable(id: str, grade: Grade, name: str, value: str | None, says: str = "") -> Mistake:
    return Mistake(
        id=id, grade=grade, make=variable(name, value), repair=variable(name, GOOD.get(name)), says=says
    )


def row(id: str, grade: Grade, says: str = "", **columns: str) -> Mistake:
    return Mistake(
        id=id,
        grade=grade,
        make=lambda clinic: clinic.put(**columns),
        repair=by_sql("DELETE FROM agentexec_activity"),
        says=says,
    )


def key(
    id: str, grade: Grade, make: Callable[[redis.Redis], object], undo: Callable[[redis.Redis], object]
) -> Mistake:
    return Mistake(
        id=id, grade=grade, make=lambda c: _ignore(make(c.server)), repair=lambda c: _ignore(undo(c.server))
    )


def _ignore(_: object) -> None:
    return None


def evict(clinic: Clinic) -> None:
    """Let Redis evict a key that has an expiry, and nothing of the queue, which has none here."""
    server = clinic.server
    server.config_set("maxmemory-policy", "volatile-lru")
    server.set("result:1", b"x" * 2_000_000, ex=1000)
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) - 1_000_000)
    server.exists("result:1")
    server.config_set("maxmemory", "256mb")
    server.config_set("maxmemory-policy", "noeviction")
    assert server.info("stats")["evicted_keys"] == 1


def many(id: str, count: int, status: str) -> Mistake:
    """That many activities in this status, dispatched and new."""
    statement = f"""INSERT INTO agentexec_activity (id, agent_id, queue_name, agent_type, status, fence, attempt,
            failures, priority, context, dispatched_at)
        SELECT gen_random_uuid(), gen_random_uuid(), '{QUEUE}', 't', '{status}', 0, 0, 0, 0, '{{}}', now()
        FROM generate_series(1, {count})"""
    return Mistake(
        id=id, grade=Grade.WARN, make=by_sql(statement), repair=by_sql("DELETE FROM agentexec_activity")
    )


def tasks_without_workers(clinic: Clinic) -> None:
    clinic.server.zadd(KEYS.seen, {"w1": 1, "w2": 1})
    clinic.put()


def no_tasks_and_workers(clinic: Clinic) -> None:
    clinic.server.zadd(KEYS.seen, {"w1": 4e12, "w2": 4e12})
    clinic.sql("DELETE FROM agentexec_activity")


def slow_command(clinic: Clinic) -> None:
    clinic.send("EVAL", "local start = os.clock() while os.clock() - start < 0.11 do end", "0")


def old_transaction(clinic: Clinic) -> None:
    """No transaction of a test is a minute old: here any age counts as long."""
    clinic.environment.setattr(postgres_checks, "LONG_TRANSACTION", 0.0)
    clinic.other.execute("SELECT 1")


def end_of_transaction(clinic: Clinic) -> None:
    clinic.environment.setattr(postgres_checks, "LONG_TRANSACTION", 60.0)
    clinic.other.rollback()


FLUSH = "SELECT pg_stat_force_next_flush()"
MANY = """INSERT INTO agentexec_activity_log_archive (activity_id, fence, n, status, message, created_at)
    SELECT gen_random_uuid(), 0, n, 'queued', 'm', now() FROM generate_series(1, 10001) AS n"""
OLD = "now() - interval '100 days'"
FAIL, WARN = Grade.FAIL, Grade.WARN
MISTAKES = [
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
    Mistake(
        id="postgres.deadlocks",
        grade=WARN,
        make=lambda clinic: make_deadlock(clinic.owner_of_postgres),
        repair=by_sql("SELECT pg_stat_reset()"),
    ),
    Mistake(id="postgres.long-transactions", grade=WARN, make=old_transaction, repair=end_of_transaction),
    wrong_variable("postgres.connections", FAIL, "AGENTEXEC_NUM_WORKERS", "80"),
    wrong_variable("postgres.connections", WARN, "AGENTEXEC_NUM_WORKERS", "10", "if handlers enqueue"),
    Mistake(id="redis.maxmemory-policy", grade=FAIL, make=config("maxmemory-policy", "allkeys-lru")),
    Mistake(id="redis.maxmemory-policy", grade=WARN, make=config("maxmemory-policy", "volatile-lru")),
    Mistake(id="redis.persistence", grade=FAIL, make=config("appendonly", "no")),
    Mistake(id="redis.appendfsync", grade=WARN, make=config("appendfsync", "no")),
    Mistake(id="redis.maxmemory", grade=WARN, make=config("maxmemory", "0")),
    Mistake(
        id="redis.headroom",
        grade=WARN,
        make=lambda c: _ignore(
            c.server.config_set("maxmemory", int(c.server.info("memory")["used_memory"] / 0.87))
        ),
        repair=config("maxmemory", "256mb"),
    ),
    Mistake(
        id="redis.evicted-keys", grade=WARN, make=evict, repair=lambda c: _ignore(c.server.config_resetstat())
    ),
    Mistake(
        id="redis.password",
        grade=FAIL,
        make=config("requirepass", ""),
        repair=lambda clinic: _ignore(clinic.server.config_set("requirepass", clinic.login)),
    ),
    Mistake(id="redis.protected-mode", grade=WARN, make=config("protected-mode", "no")),
    Mistake(id="redis.idle-timeout", grade=WARN, make=config("timeout", "30")),
    Mistake(id="redis.maxclients", grade=FAIL, make=config("maxclients", "100")),
    key("redis.replication", FAIL, lambda s: s.replicaof(LOOPBACK, 1), lambda s: s.replicaof("NO", "ONE")),
    Mistake(
        id="redis.slow-commands", grade=WARN, make=slow_command, repair=lambda c: c.send("SLOWLOG", "RESET")
    ),
    key(
        "redis.shared",
        WARN,
        lambda s: s.set("session:of-another", 1),
        lambda s: s.delete("session:of-another"),
    ),
    key("tasks.dead-letters", WARN, lambda s: s.zadd(KEYS.dlq, {"x": 1}), lambda s: s.delete(KEYS.dlq)),
    key(
        "tasks.workers",
        WARN,
        lambda s: s.zadd(KEYS.seen, {"w1": 1, "w2": 1}),
        lambda s: s.zadd(KEYS.seen, {"w1": 4e12, "w2": 4e12}),
    ),
    key(
        "tasks.settings-agree",
        WARN,
        lambda s: s.hset(KEYS.cfg, "set:max_task_retries", "9"),
        lambda s: s.hset(KEYS.cfg, "set:max_task_retries", "3"),
    ),
    Mistake(
        id="tasks.workers", grade=FAIL, make=tasks_without_workers, repair=no_tasks_and_workers, says="wait"
    ),
    many("tasks.queue-depth", 1001, "queued"),
    many("tasks.error-rate", 30, "error"),
    row("tasks.outbox-lag", WARN, created_at="now() - interval '2 minutes'", dispatched_at="NULL"),
    row("tasks.outbox-lag", FAIL, created_at=OLD, dispatched_at="NULL"),
    row("tasks.stuck-running", FAIL, "1 without", status="'running'", fence="7", updated_at=OLD),
    row("tasks.withdrawals", WARN, status="'canceled'", withdraw_since=OLD),
    row("tasks.cleanup", FAIL, "100.0 days old", status="'complete'", updated_at=OLD),
    Mistake(
        id="settings.unknown-name",
        grade=FAIL,
        make=variable("AGENTEXEC_NUM_WORKER", "8"),
        repair=variable("AGENTEXEC_NUM_WORKER", None),
        says="did you mean AGENTEXEC_NUM_WORKERS?",
    ),
    wrong_variable("settings.valid", FAIL, "AGENTEXEC_NUM_WORKERS", "many", "AGENTEXEC_NUM_WORKERS"),
    wrong_variable("settings.graceful-timeout", FAIL, "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT", "0"),
    wrong_variable("settings.graceful-timeout", WARN, "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT", "150"),
    wrong_variable("settings.log-format", WARN, "AGENTEXEC_LOG_FORMAT", "text"),
    wrong_variable("settings.metrics-port", WARN, "AGENTEXEC_METRICS_PORT", "0"),
    wrong_variable("settings.rate-limit", FAIL, "AGENTEXEC_API_RATE_LIMIT", "off"),
    wrong_variable("settings.api-keys", WARN, "AGENTEXEC_API_KEYS", None),
]


def test_a_good_installation_has_no_fail_and_only_the_known_warnings(healthy: DoctorReport) -> None:
    found = {one.check.id for one in healthy.results if one.needs_repair} - MEASURED
    assert (found, healthy.exit_code, healthy.silent) == (AS_EMBEDDED, 0, ())
    assert healthy.seconds < 5


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: f"{one.id}-{one.grade}")
def test_a_mistake_is_found_by_its_id_alone_and_gone_after_its_repair(
    clinic: Clinic, healthy: DoctorReport, mistake: Mistake
) -> None:
    mistake.make(clinic)
    try:
        report = clinic.report()
        found = next(one for one in report.results if one.check.id == mistake.id)
    finally:
        if mistake.repair is not None:
            mistake.repair(clinic)
    assert turned_red(report, healthy) == {mistake.id: mistake.grade}
    assert mistake.says in found.finding.seen
    assert report.exit_code == (1 if mistake.grade is FAIL else 0)
    if mistake.repair is None:
        for command in found.commands:
            clinic.run(command)
    with Installation(clinic.options()) as site:
        after = examine(site, (), today=datetime.now(UTC).date(), checks=[found.check])
    assert grades(after)[mistake.id] is grades(healthy)[mistake.id]


def test_every_repair_was_whole(clinic: Clinic, healthy: DoctorReport) -> None:
    assert compared(clinic.report()) == compared(healthy)


def test_a_running_task_with_a_lease_is_not_stuck(clinic: Clinic) -> None:
    task = str(uuid4())
    clinic.put(id=f"'{task}'", status="'running'", fence="7", updated_at=OLD)
    clinic.server.zadd(KEYS.lease, {task: 4e12})
    try:
        assert grades(clinic.report())["tasks.stuck-running"] is Grade.PASS
    finally:
        clinic.server.delete(KEYS.lease)
        clinic.sql("DELETE FROM agentexec_activity")


def test_a_role_that_may_only_select_is_enough(clinic: Clinic, healthy: DoctorReport) -> None:
    """The user of Redis may only send what reads in all these tests."""
    report = clinic.report(clinic.database_url.replace("doctor_app", "doctor_reader"))
    assert compared(report) == compared(healthy) | {"tables.rights": FAIL}


def test_what_a_managed_service_forbids_is_skipped_with_the_reason(
    clinic: Clinic, healthy: DoctorReport
) -> None:
    clinic.send("ACL", "SETUSER", "doctor", "-config|get", "-slowlog|get")
    try:
        report = clinic.report()
    finally:
        clinic.send("ACL", "SETUSER", "doctor", "+config|get", "+slowlog|get")
    changed = {
        one.check.id: one for one in report.results if one.finding.grade is not grades(healthy)[one.check.id]
    }
    assert changed.keys() - MEASURED == {
        "redis.protected-mode",
        "redis.appendfsync",
        "redis.idle-timeout",
        "redis.slow-commands",
    }
    assert all(one.finding.grade is Grade.SKIP for one in changed.values())
    assert "NOPERM" in changed["redis.appendfsync"].finding.seen
    assert report.exit_code == 0


def test_neither_connection_can_write(clinic: Clinic) -> None:
    owner = clinic.owner.info.dsn + f" password={clinic.owner.info.password}"
    postgres, server = PostgresReader(owner, within=5), RedisReader(clinic.redis_url)
    with pytest.raises(CannotTell, match="read-only transaction"):
        postgres.rows("CREATE TABLE mine (id int)")
    with pytest.raises(ValueError, match="SET"):
        server.call("SET", "a", "b")
    with pytest.raises(ValueError, match="CONFIG"):
        server.call("CONFIG", "SET", "timeout", "1")
    postgres.close()
    server.close()


def test_a_server_that_goes_silent_ends_the_call(clinic: Clinic) -> None:
    reader = PostgresReader(clinic.database_url, within=0.05)
    with pytest.raises(NoAnswer):
        reader.rows("SELECT pg_sleep(0.9)")
    reader.close()


def test_another_encoding_and_a_database_without_tables_are_found(clinic: Clinic) -> None:
    clinic.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    report = clinic.report(clinic.database_url.replace("/postgres", "/ascii"))
    found = {one.check.id: one.finding for one in report.results}
    assert found["postgres.encoding"] == failed("SQL_ASCII")
    assert "there is no agentexec_activity;" in found["tables.present"].seen
    fails = {name for name, one in found.items() if one.grade is FAIL}
    assert fails == {"postgres.encoding", "tables.present", "tables.migrations"}
    assert found["indexes.present"] == skipped("there are no tables (tables.present)")


def test_the_metrics_and_the_health_of_a_pool_are_as_the_doctor_expects(clinic: Clinic) -> None:
    settings = load_settings(
        database_url=clinic.database_url, redis_url=clinic.owner_of_redis, metrics_port=0
    )
    with monitoring(settings.model_copy(update={"num_workers": 2}), ready_workers=lambda: 2) as monitor:
        url = f"http://{LOOPBACK}:{monitor.port}"
        options = DoctorOptions(metrics_url=f"{url}/metrics", api_url=url)
        with Installation(options) as site:
            checks = [one for one in CHECKS if one.id.startswith("metrics.") or one.box is Box.HEALTH]
            found = grades(examine(site, (), today=datetime.now(UTC).date(), checks=checks))
    names = ("metrics.names", "metrics.servers-up", "api.live", "api.ready")
    assert found == dict.fromkeys(names, Grade.PASS) | {"files.probes": Grade.SKIP}


def test_no_answer_is_exit_code_2_and_the_other_server_is_still_checked(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = f"postgresql://doctor_app:{PASSWORD}@{LOOPBACK}:{free_port()}/postgres"
    assert main(["doctor", "--json", "--database-url", nowhere, "--redis-url", clinic.redis_url]) == 2
    printed = capsys.readouterr().out
    document = json.loads(printed)
    results = {one["id"]: one["result"] for one in document["checks"]}
    assert (document["exit_code"], document["silent"]) == (2, ["postgres.answers"])
    assert (results["postgres.answers"], results["tables.present"], results["redis.persistence"]) == (
        "FAIL",
        "SKIP",
        "PASS",
    )
    assert PASSWORD not in printed


def test_the_command_writes_every_output_without_a_secret(
    clinic: Clinic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ["--database-url", clinic.database_url, "--redis-url", clinic.redis_url]
    files = ["--junit", str(tmp_path / "junit.xml"), "--fix-plan", str(tmp_path / "plan.sh")]
    for output in ("--all", "--json", "--markdown"):
        assert main(["doctor", output, *urls, *files]) == 0
    printed = capsys.readouterr().out + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "doctor: healthy" in printed
    for secret in (PASSWORD, clinic.login, GOOD["AGENTEXEC_API_KEYS"]):
        assert secret not in printed


def test_a_file_that_cannot_be_written_is_wrong_usage(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ["--database-url", clinic.database_url, "--redis-url", clinic.redis_url]
    assert main(["doctor", *urls, "--junit", "no-such-folder/junit.xml"]) == 64
    assert "no-such-folder/junit.xml cannot be written: No such file" in capsys.readouterr().err


def test_the_mistakes_are_of_many_checks() -> None:
    assert {one.id for one in MISTAKES} <= {one.id for one in CHECKS}
    assert len({one.id for one in MISTAKES}) >= 25
