"""Workers that the user runs: `--watch` judges what becomes of tasks, and `--kill-command` kills their pool.

With `--read-only` the tasks are those of the user too.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import select

import agentexec as ax
from agentexec.activity import Activity
from agentexec.core.db import create_schema, engine_for
from chaos import SCENARIOS
from harness import cli
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.redis_connection import RedisConnection
from harness.faults.process import kill_pool
from harness.targets.applications.agentexec_observed import ObservedAgentexec
from harness.targets.applications.agentexec_watched_task import WATCHED_TASK, Watched
from tests.conftest import Eventually
from tests.support.environment import child_environment

pytestmark = pytest.mark.integration

POOL = """
import agentexec as ax
from harness.targets.applications.agentexec_watched_task import add_watched_task

pool = ax.Pool()
add_watched_task(pool)
"""


ONE_KILL = replace(SCENARIOS["kill-pool"], name="one-kill", faults=(kill_pool(at=0.5),))


class Deployment:
    """A pool of the user in a process of its own, with its id in a file; it is started again when it is killed."""

    def __init__(self, folder: Path, endpoints: Endpoints, queue: str) -> None:
        self.queue, self.folder, self.ends = queue, folder, list[int]()
        (folder / "mypool.py").write_text(POOL, "utf-8")
        settings = {"NUM_WORKERS": "2", "LEASE_SECONDS": "2", "GRACEFUL_SHUTDOWN_TIMEOUT": "2"}
        variables = {f"AGENTEXEC_{name}": value for name, value in settings.items()}
        self._environment = child_environment(endpoints.database_url, endpoints.redis_url, queue, **variables)
        self._process = self._start()
        self._thread = threading.Thread(target=self._supervise)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "agentexec", "worker", "mypool:pool"]
        with (self.folder / "pool.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        (self.folder / "pool.pid").write_text(f"{process.pid}\n", "utf-8")
        return process

    def _supervise(self) -> None:
        while True:
            self.ends.append(self._process.wait())
            if self.ends[-1] != -signal.SIGKILL:
                return
            self._process = self._start()

    def close(self) -> None:
        self._process.terminate()
        self._thread.join(30)
        assert self.ends[-1] == 0, (self.folder / "pool.log").read_text("utf-8")


@pytest.fixture
def deployment(servers: EmbeddedEnvironment, tmp_path: Path) -> Iterator[Deployment]:
    engine = engine_for(servers.endpoints.database_url)
    create_schema(engine)
    engine.dispose()
    made = Deployment(tmp_path, servers.endpoints, f"users-{uuid4().hex[:8]}")
    yield made
    made.close()


def test_tasks_on_workers_of_the_user_survive_a_kill_command(
    servers: EmbeddedEnvironment,
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    urls, report = servers.endpoints, deployment.folder / "report"
    monkeypatch.setenv("HARNESS_DATABASE_URL", urls.database_url)
    monkeypatch.setenv("HARNESS_REDIS_URL", urls.redis_url)
    with ax.Client(
        database_url=urls.database_url, redis_url=urls.redis_url, queue_name=deployment.queue
    ) as client:
        first, users = (client.enqueue_sync(WATCHED_TASK, Watched(), delay=delay) for delay in (0.0, 3_600.0))
        mine = Activity.queue_name == deployment.queue

        def complete() -> bool:
            with client.engine.connect() as connection:
                done = select(Activity.id).where(mine, Activity.status == ax.activity.Status.COMPLETE)
                return connection.execute(done).scalars().all() == [first.agent_id]

        eventually(complete, 60)  # the pool is up
        words = [
            f"{__name__}:ONE_KILL",
            "--tasks",
            "30",
            "--patience",
            "60",
            "--seed",
            "1",
            "--report",
            str(report),
        ]
        words += ["--backend", "external", "--allow-destructive", "postgres"]
        words += ["--watch", "--queue", deployment.queue, "--kill-command", "kill -9 {pid}"]
        words += ["--kill-victims", f"cat {deployment.folder / 'pool.pid'}"]
        assert cli.main(["chaos", "run", *words]) == 0
        [found] = json.loads((report / "verdict.json").read_text("utf-8"))["scenarios"]
        assert found["checkers"]["delivery"]["figures"]["lost"] == 0
        assert found["figures"]["faults"] == 1
        assert deployment.ends == [-signal.SIGKILL], "the pool that was started again runs"
        with client.engine.connect() as connection:
            left = connection.execute(select(Activity.id).where(mine)).scalars().all()
        assert set(left) == {first.agent_id, users.agent_id}, (
            "tasks of the user stay, those of the run do not"
        )
        assert client.queue.known([users.agent_id]) == [True]
        client.queue.drop()


READER = "hx_reader"
"""A role of Postgres and a user of Redis that may only read."""


@pytest.fixture
def only_reading(
    deployment: Deployment, servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The harness is given a role that may SELECT, and a user of Redis with the commands that read."""
    urls = servers.endpoints
    with (
        closing(psycopg.connect(urls.database_url, autocommit=True)) as owner,
        RedisConnection(urls.redis_url) as redis,
    ):
        owner.execute(f"CREATE ROLE {READER} LOGIN PASSWORD 'read'")
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}")
        redis.call("ACL", "SETUSER", READER, "on", ">read", "~*", "+@read", "+@connection", "+info")
        for name, url in (("DATABASE", urls.database_url), ("REDIS", urls.redis_url)):
            monkeypatch.setenv(f"HARNESS_{name}_URL", as_reader(url))
        yield
        owner.execute(f"DROP OWNED BY {READER}; DROP ROLE {READER}")
        redis.call("ACL", "DELUSER", READER)


def as_reader(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{READER}:read@{parts.hostname}:{parts.port}").geturl()


def observed(folder: Path, queue: str, *words: str) -> tuple[int, Any]:
    """The exit code of a run that only reads, and its verdict."""
    fixed = ["--seed", "1", "--report", str(folder), "--backend", "external", "--watch", "--read-only"]
    code = cli.main(["chaos", "run", *words, *fixed, "--queue", queue])
    return code, json.loads((folder / "verdict.json").read_text("utf-8"))["scenarios"][0]["checkers"]


@pytest.mark.usefixtures("only_reading")
def test_a_role_that_may_only_read_is_enough_to_judge_the_tasks_of_others(
    servers: EmbeddedEnvironment, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls, folder = servers.endpoints, deployment.folder
    victim = ["--kill-command", "kill -9 {pid}", "--kill-victims", f"cat {folder / 'pool.pid'}"]
    with ax.Client(
        database_url=urls.database_url, redis_url=urls.redis_url, queue_name=deployment.queue
    ) as client:
        client.enqueue_sync(WATCHED_TASK, Watched())
        prepare = ObservedAgentexec.prepare

        def prepared(session: ObservedAgentexec) -> None:
            """The run has begun: tasks from now on are observed, except one that is not due."""
            prepare(session)
            for delay in (0.0, 0.0, 0.0, 3_600.0):
                client.enqueue_sync(WATCHED_TASK, Watched(work=0.1), delay=delay)

        monkeypatch.setattr(ObservedAgentexec, "prepare", prepared)
        killed = [f"{__name__}:ONE_KILL", "--tasks", "20", "--allow-destructive", "postgres", *victim]
        code, found = observed(folder / "well", deployment.queue, *killed, "--patience", "60")
        assert (code, found["delivery"]["figures"]["acknowledged"]) == (0, 3), found
        assert deployment.ends == [-signal.SIGKILL]
        code, found = observed(folder / "none", "idle", "watch", "--tasks", "4")
        assert (code, found["delivery"]["verdict"]) == (2, "UNKNOWN"), found
        client.queue.drop()
