"""The SQL and the scripts of `deploy/postgres` on a real server: roles, backups under load, and their restore."""

from __future__ import annotations

import os
import secrets
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

import agentexec as ax
from agentexec import migrations
from agentexec.cli import main as agentexec_command
from agentexec.core.db import engine_for
from agentexec.queue.dead_letters import DeadLetters
from agentexec.task import TaskRequest
from harness import cli
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_postgres import LocalPostgres, client_program
from harness.environments.session import Session
from tests.conftest import Eventually
from tests.support.environment import ROOT
from tests.support.exported import exported
from tests.support.production import Site, running_pool
from tests.support.production_tasks import Message

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SCRIPTS = ROOT / "deploy" / "postgres"
PROGRAMS = client_program("psql").parent


@dataclass(frozen=True)
class Kit:
    """A server on which the scripts run as in production."""

    endpoints: Endpoints = field(repr=False)
    passwords: dict[str, str] = field(repr=False)

    def url(self, role: str, database: str = "agentexec") -> str:
        parts = urlsplit(self.endpoints.database_url)
        login = f"agentexec_{role}:{self.passwords[role]}" if role else parts.netloc.rpartition("@")[0]
        netloc = f"{login}@{parts.hostname}:{parts.port}"
        return parts._replace(netloc=netloc, path=f"/{database}").geturl()

    def run(self, role: str, *words: object, database: str = "agentexec", code: int = 0) -> str:
        """Run a command with the variables of libpq for a role; an empty one is the superuser."""
        url = urlsplit(self.url(role, database))
        variables = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "PGHOST": str(url.hostname),
            "PGPORT": str(url.port),
            "PGUSER": str(url.username),
            "PGPASSWORD": str(url.password),
            "PGDATABASE": database,
            **{f"{name.upper()}_PASSWORD": password for name, password in self.passwords.items()},
        }
        done = subprocess.run(
            list(map(str, words)), env=variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def create(self, database: str) -> None:
        """Run roles.sql; it gives no warning."""
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=database={database}"]
        assert not self.run("", "psql", *options, f"--file={SCRIPTS / 'roles.sql'}", database="postgres")

    def backed_up(self, folder: Path, *options: str) -> Path:
        """The dump of a backup."""
        self.run("backup", SCRIPTS / "backup.sh", folder, *options)
        (dump,) = folder.glob("agentexec-*.dump")
        assert list(folder.glob(".part-*")) == []
        return dump

    def restored(self, dump: Path, database: str) -> str:
        """The URL of the application's role on a database with the content of the dump."""
        self.create(database)
        self.run("owner", SCRIPTS / "restore.sh", dump, database)
        return self.url("app", database)

    def site(self, queue: str, database: str = "agentexec") -> Site:
        return Site(endpoints=self.endpoints.replace({"postgres": self.url("app", database)}), queue=queue)


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    """A server of this module, because roles belong to a whole server; with the tables of a migration."""
    with EmbeddedEnvironment() as servers:
        made = Kit(
            servers.endpoints, {role: secrets.token_hex(8) for role in ("owner", "app", "backup", "monitor")}
        )
        made.create("agentexec")
        engine = engine_for(made.url("owner"))
        migrations.upgrade(engine)
        engine.dispose()
        yield made


def test_the_application_works_and_changes_no_table(kit: Kit) -> None:
    with kit.site("roles").client() as client:
        task = client.enqueue_sync("echo", Message())
        assert ax.activity.cancel(task.agent_id, client=client)
    with psycopg.connect(kit.url("app"), autocommit=True) as connection:
        for statement in (
            "CREATE TABLE mine (n int)",
            "DROP TABLE agentexec_activity_log",
            "ALTER TABLE agentexec_activity ADD n int",
            "DELETE FROM agentexec_activity",
            "TRUNCATE agentexec_activity_log",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_roles_may_be_made_again_with_other_passwords(kit: Kit) -> None:
    kit.passwords["app"] = secrets.token_hex(8)
    kit.create("agentexec")
    with psycopg.connect(kit.url("app")) as connection:
        assert connection.execute("SELECT count(*) FROM agentexec_activity").fetchone()


def test_a_dump_is_restored_into_an_empty_database_only(kit: Kit, tmp_path: Path) -> None:
    dump = kit.backed_up(tmp_path)
    said = kit.run("owner", SCRIPTS / "restore.sh", dump, "agentexec", code=1)
    assert "agentexec has 5 tables; restore into an empty database" in said


def test_a_backup_deletes_what_is_older_than_it_has_to_be_kept(kit: Kit, tmp_path: Path) -> None:
    files = {
        name: tmp_path / name
        for name in ("agentexec-1.dump", "base-1/base.tar.gz", "wal/1", "wal/2", "other")
    }
    ages = {"agentexec-1.dump": 16, "base-1/base.tar.gz": 16, "wal/1": 17, "wal/2": 15, "other": 99}
    for name, path in files.items():
        path.parent.mkdir(exist_ok=True)
        path.touch()
        for one in (path, path.parent):
            os.utime(one, times=(time.time() - 86_400 * ages[name],) * 2)
    kit.run("backup", SCRIPTS / "backup.sh", tmp_path)
    assert [name for name, path in files.items() if path.exists()] == ["wal/2", "other"]


def test_backups_under_load_hold_a_whole_record(
    kit: Kit, tmp_path: Path, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    site = kit.site("load")
    quickly = {"AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT": "1"}
    with running_pool(site, tmp_path, quickly), loaded(site):
        eventually(lambda: ended(kit, site) > 100, 60)
        before = ended(kit, site)
        dump = kit.backed_up(tmp_path, "--base")
        assert ended(kit, site) > before + 100, "the load went on beside the backups"
    (base,) = tmp_path.glob("base-*")
    with base_backup(kit, base) as url:
        for copy in (kit.restored(dump, "restored"), url):
            with psycopg.connect(copy) as connection:
                found: dict[str, int] = dict(connection.execute(STATUSES, [site.queue]).fetchall())
            assert found["running"] > 0, "the tasks of that moment are pending"
            assert before < found["complete"] < ended(kit, site)
            assert cli.main(["check", "--export", *map(str, exported(copy, site.queue, tmp_path))]) == 0
            assert "as the model of the protocol allows" in capsys.readouterr().out


def test_a_pool_repairs_a_record_that_is_older_than_its_redis(
    kit: Kit, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/production/backup.md, Restoring."""
    soon = {"AGENTEXEC_RECONCILE_SECONDS": "1"}
    site = kit.site("older")
    with site.client() as client:
        ended_later = client.enqueue_sync("echo", Message()).agent_id
        dump = kit.backed_up(tmp_path)
        with running_pool(site, tmp_path, soon):
            eventually(lambda: completed(kit.url("app")) >= {ended_later}, 60)
        only_in_the_queue = client.enqueue_sync("echo", Message()).agent_id
    restored = kit.restored(dump, "older")
    site = kit.site("older", "older")
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    assert agentexec_command(["queue", "adopt"]) == 0
    with running_pool(site, tmp_path, soon), site.client() as client:
        eventually(lambda: completed(restored) == {ended_later}, 60)
        letters = DeadLetters(client.queue)
        eventually(letters.count, 60)
        [letter] = letters.page()
    assert (letter.task_id, letter.reason) == (str(only_in_the_queue), "no activity is recorded for it")


STATUSES = "SELECT status, count(*) FROM agentexec_activity WHERE queue_name = %s GROUP BY status"


def completed(url: str) -> set[UUID]:
    """The tasks of the queue `older` that are complete."""
    query = "SELECT agent_id FROM agentexec_activity WHERE queue_name = 'older' AND status = 'complete'"
    with psycopg.connect(url) as connection:
        return {found for (found,) in connection.execute(query)}


def ended(kit: Kit, site: Site) -> int:
    with psycopg.connect(kit.url("app")) as connection:
        found: dict[str, int] = dict(connection.execute(STATUSES, [site.queue]).fetchall())
    return found.get("complete", 0)


@contextmanager
def loaded(site: Site) -> Iterator[None]:
    """Two tasks that do not end, and batches of short ones one after the other, as fast as they are recorded."""
    stopped = threading.Event()

    def produce() -> None:
        with site.client() as client:
            client.enqueue_many_sync([TaskRequest(task_name="wait", context=Message()) for _ in range(2)])
            while not stopped.is_set():
                client.enqueue_many_sync(
                    [TaskRequest(task_name="echo", context=Message()) for _ in range(20)]
                )

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class CopiedPostgres(LocalPostgres):
    """A server on the files of a base backup."""

    backup: Path

    def prepare(self) -> None:
        """Unpack the backup; the server replays the WAL in it when it starts."""
        self._change_owner(self.home)
        self._find_binaries()
        for name, place in (("base.tar.gz", self._data), ("pg_wal.tar.gz", self._data / "pg_wal")):
            with tarfile.open(self.backup / name) as tar:
                tar.extractall(place, filter="fully_trusted")
        for path in (self._data, *self._data.rglob("*")):
            self._change_owner(path)
        self._data.chmod(0o700)


@contextmanager
def base_backup(kit: Kit, folder: Path) -> Iterator[str]:
    """The URL of the application's role on a server that has started from a base backup."""
    with closing(Session.open()) as session:
        server = CopiedPostgres(session, password=str(urlsplit(kit.endpoints.database_url).password))
        server.backup = folder
        server.begin()
        try:
            server.finish()
            login, place = (urlsplit(url).netloc for url in (kit.url("app"), server.url))
            yield f"postgresql://{login.rpartition('@')[0]}@{place.rpartition('@')[2]}/agentexec"
        finally:
            server.kill()
