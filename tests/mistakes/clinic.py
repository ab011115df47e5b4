"""The installation in which the mistakes are made: servers of its own, roles with few rights, good settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis

from agentexec import migrations
from agentexec.config import load_settings
from agentexec.core.db import engine_for
from agentexec.queue.keys import QueueKeys
from agentexec.worker.agreement import shared
from harness.doctor import installation, machine_checks, postgres_reader, redis_reader
from harness.doctor.check import DoctorCheck
from harness.doctor.examination import DoctorReport, examine
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS
from harness.environments.embedded import EmbeddedEnvironment
from tests.mistakes.manifests import DeployedFiles
from tests.support.production import wait_for

QUEUE = "doctor"
KEYS = QueueKeys.of(QUEUE)
PASSWORD = "of-the-doctor"
# Of a machine that is large enough for each number of workers that a mistake sets.
CORES, MEMORY = 64.0, 1e12
# Seconds that nothing takes on the busiest machine: a mistake is to be found, and not the load of others.
PATIENCE = 60.0
LIMITS = (
    (installation, "BUDGET_SECONDS"),
    (installation, "CONNECTED_SECONDS"),
    (redis_reader, "CONNECT_SECONDS"),
)
GOOD = {
    "AGENTEXEC_QUEUE_NAME": QUEUE,
    "AGENTEXEC_TASK_TIME_LIMIT": "200",
    "AGENTEXEC_TASK_SOFT_TIME_LIMIT": "100",
    "AGENTEXEC_LOG_FORMAT": "json",
    "AGENTEXEC_METRICS_PORT": "9100",
    "AGENTEXEC_API_KEYS": "sixteen-characters-and-more,the-next-key-of-the-callers",
    "OPENAI_KEY_ROTATION_DATE": (datetime.now(UTC) - timedelta(days=30)).date().isoformat(),
}
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
    files: DeployedFiles

    def options(self, database_url: str | None = None) -> DoctorOptions:
        return DoctorOptions(
            database_url=database_url or self.database_url,
            redis_url=self.redis_url,
            deployment=self.files.deployment,
            backups=self.files.backup.parent,
            load_report=self.files.verdict.parent,
            log=self.files.log,
        )

    def report(
        self, database_url: str | None = None, *, checks: Sequence[DoctorCheck] = CHECKS
    ) -> DoctorReport:
        with Installation(self.options(database_url)) as site:
            return examine(site, (), today=datetime.now(UTC).date(), checks=checks)

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

    def pools_agree(self) -> None:
        """Note the settings of this environment as those of the pool that started last."""
        self.server.hset(
            KEYS.cfg, mapping={f"set:{name}": value for name, value in shared(load_settings()).items()}
        )

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


@contextmanager
def opened_clinic() -> Iterator[Clinic]:
    """A healthy installation; the variables of this process are those of its environment meanwhile."""
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
        files = DeployedFiles(folder=servers.folder / "deployed")
        files.write()
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in GOOD.items():
            environment.setenv(name, value)
        for module, limit in LIMITS:
            environment.setattr(module, limit, PATIENCE)
        environment.setattr(postgres_reader, "STATEMENT_MS", int(1000 * PATIENCE))
        environment.setattr(machine_checks, "cores_here", lambda: CORES)
        environment.setattr(machine_checks, "memory_here", lambda: MEMORY)
        server.config_set("maxmemory", "256mb")
        server.config_set("slowlog-log-slower-than", 100_000)  # µs
        for worker in ("w1", "w2"):
            server.hset(KEYS.workers, worker, "host|1|1")
            server.zadd(KEYS.seen, {worker: 4e12})
        clinic = Clinic(
            owner=owner,
            server=server,
            environment=environment,
            database_url=at(urls.database_url, f"doctor_app:{PASSWORD}"),
            redis_url=at(urls.redis_url, f"doctor:{PASSWORD}"),
            other=stack.enter_context(psycopg.connect(at(urls.database_url, f"doctor_app:{PASSWORD}"))),
            owner_of_postgres=urls.database_url,
            owner_of_redis=urls.redis_url,
            login=urlsplit(urls.redis_url).password or "",
            files=files,
        )
        clinic.pools_agree()
        yield clinic


def at(url: str, login: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()
