"""The code of the production guide runs unchanged, in an application's pool and in its service.

The guide: https://github.com/Agent-CI/agentexec/blob/de93097/docs/deployment/production.md
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec.activity import Activity, ActivityLog
from agentexec.core.db import create_schema
from agentexec.queue.dead_letters import DeadLetters
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import age, log_of
from tests.support.guide import as_written, safe_forms

pytestmark = pytest.mark.integration

# What an application defines around the code of the production guide: first for its pool.
BEFORE_TASKS = """
import json, logging, os
from uuid import UUID
import httpx
from circuitbreaker import CircuitBreakerError
from pydantic import BaseModel
import agentexec as ax
from agentexec.core.redis_client import get_redis

DATABASE_URL = os.environ["DATABASE_URL"]
API_URL = "http://127.0.0.1:1/"
logger = logging.getLogger("application")

class MyContext(BaseModel):
    name: str
    retry_count: int = 0

class APIContext(BaseModel):
    data: dict

async def do_work(context):
    raise RuntimeError("no luck")

async def move_to_dlq(agent_id, context, reason):
    redis = await get_redis()
    await redis.rpush("moved:" + os.environ["AGENTEXEC_QUEUE_NAME"], json.dumps([str(agent_id), context.name, reason]))
"""
# Then for its service, which runs functions of the guide and prints their results.
SERVICE = """
import asyncio, json, sys
import application
from application import *
from agentexec.store.models import Activity
from sqlalchemy.orm import Session

agent_id = UUID(sys.argv[1])
answers = {}
if sys.argv[2] == "clean up":
    cleanup_old_activities()
else:
    startup()
    with Session(engine) as session:
        exec(EAGER)
        session.expunge_all()
    answers["logs"] = [entry.message for entry in activity.logs]
    answers["status"] = activity.status

    async def read():
        return await redis_errors(), await get_multiple_results([str(agent_id), str(agent_id)[::-1]])

    errors, results = asyncio.run(read())
    answers["redis"] = errors
    answers["results"] = [json.loads(r) if r else None for r in results]
print(json.dumps(answers))
"""


class MyContext(BaseModel):
    name: str
    retry_count: int = 0


class APIContext(BaseModel):
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Application:
    """A folder with the reader's application, made of the guide's blocks, and its servers."""

    folder: Path
    client: ax.Client
    variables: Mapping[str, str]
    forks: str

    def service(self, agent_id: UUID, what: str = "read") -> dict[str, Any]:
        command = [sys.executable, "-W", "ignore:datetime.datetime.utcnow", "service.py", str(agent_id), what]
        run = subprocess.run(
            command, cwd=self.folder, env=dict(self.variables), capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        answers: dict[str, Any] = json.loads(run.stdout)
        return answers | {"said": run.stderr}


@pytest.fixture
def application(servers: EmbeddedEnvironment, forks: str, tmp_path: Path) -> Iterator[Application]:
    code = as_written()
    order = ["pooling", None, "dead letters", "circuit breaker", "readiness of Redis", "startup"]
    order += ["results in one round trip", "retention"]
    parts = [BEFORE_TASKS, *(code[name] if name else "pool = ax.Pool(engine)\n" for name in order)]
    parts.insert(1, "from agentexec.store.models import Activity\n")
    (tmp_path / "application.py").write_text("\n".join(parts), "utf-8")
    (tmp_path / "service.py").write_text(f"EAGER = {code['eager loading']!r}\n{SERVICE}", "utf-8")
    urls, queue = servers.endpoints, f"guide-{uuid4().hex}"
    variables = environment(urls.database_url, urls.redis_url, queue)
    variables["PYTHONPATH"] += f":{tmp_path}"
    with ax.Client(database_url=urls.database_url, redis_url=urls.redis_url, queue_name=queue) as client:
        create_schema(client.engine)
        yield Application(folder=tmp_path, client=client, variables=variables, forks=forks)
        with client.engine.begin() as connection:
            connection.execute(delete(Activity).where(Activity.queue_name == queue))


def rows(client: ax.Client) -> list[Activity]:
    with Session(client.engine) as session:
        found = session.query(Activity).filter_by(queue_name=client.queue.name).order_by(Activity.id).all()
        session.expunge_all()
        return list(found)


def test_the_dead_letter_pattern_gives_up_after_its_three_retries(application: Application) -> None:
    client = application.client
    client.enqueue_sync("process_with_dlq", MyContext(name="mine"))
    # The pattern enqueues its own retries, so the pool must not add others.
    variables = {**application.variables, "AGENTEXEC_MAX_TASK_RETRIES": "0"}
    with running_pool("application:pool", application.folder, variables, application.forks):
        assert wait_until_over(client.engine, client.queue.name) == {"error": 4}
    *retried, last = rows(client)
    assert [row.context["retry_count"] for row in (*retried, last)] == [0, 1, 2, 3]
    assert {row.error for row in retried} == {"RuntimeError: no luck"}
    assert (last.error, last.attempt) == ("Moved to DLQ: no luck", 1)
    assert log_of(client.engine, last.id)[-1][2:] == ("error", "Moved to DLQ: no luck")
    [moved] = client.redis.lrange(f"moved:{client.queue.name}", 0, -1)
    assert json.loads(moved) == [str(last.id), "mine", "no luck"]


def test_the_dead_letter_pattern_multiplies_at_default_retries_and_the_safe_form_does_not(
    application: Application,
) -> None:
    client = application.client
    (application.folder / "both.py").write_text(
        f"from application import *\n\n{safe_forms()['Dead letters']}"
    )
    moved = f"moved:{client.queue.name}"
    letters = DeadLetters(client.queue)
    figures = []
    with running_pool("both:pool", application.folder, application.variables, application.forks):
        for name in ("process_with_dlq", "process"):
            before = sum(row.attempt for row in rows(client)), letters.count(), client.redis.llen(moved)
            client.enqueue_sync(name, MyContext(name="mine"))
            wait_until_over(client.engine, client.queue.name)
            after = sum(row.attempt for row in rows(client)), letters.count(), client.redis.llen(moved)
            figures.append(tuple(one - other for one, other in zip(after, before, strict=True)))
    # Runs, dead letters, and what the pattern moves: four attempts enqueue four tasks, and each of these does so again.
    assert figures == [(4 + 16 + 64 + 64, 1 + 4 + 16 + 64, 64), (4, 1, 1)]


def test_the_circuit_breaker_pattern_ends_tasks_while_the_circuit_is_open(application: Application) -> None:
    client = application.client
    tasks = [client.enqueue_sync("api_task", APIContext(data={"n": n})).agent_id for n in range(4)]
    variables = {**application.variables, "AGENTEXEC_NUM_WORKERS": "1", "AGENTEXEC_WORKER_CONCURRENCY": "1"}
    with running_pool("application:pool", application.folder, variables, application.forks):
        assert wait_until_over(client.engine, client.queue.name) == {"error": 4}
    found = rows(client)
    broken = [row for row in found if row.error == "Circuit breaker open - service unavailable"]
    # Five failures open it, and a task has four attempts: at most one of the tasks can fail by itself.
    assert len(broken) >= 3
    assert sum(row.attempt for row in found) == 5 + len(broken)
    assert {row.id for row in found} == set(tasks)


def test_a_service_that_starts_cancels_no_queued_task_and_reads_the_record(application: Application) -> None:
    client = application.client
    queued = [client.enqueue_sync("not served here", MyContext(name=str(n))).agent_id for n in range(3)]
    age(client.engine, timedelta(hours=9), *queued)
    seen = application.service(queued[0])
    assert seen["logs"] == ["Waiting to start."]
    assert (seen["status"], seen["redis"], seen["results"]) == ("queued", [], [None, None])
    assert "Cleaned up" not in seen["said"]
    assert {row.status.value for row in rows(client)} == {"queued"}


def test_results_are_where_the_guide_looks_for_them(application: Application) -> None:
    client = application.client
    (application.folder / "more.py").write_text(
        "from application import *\n\n"
        "@pool.task('answer')\n"
        "async def answer(agent_id: UUID, context: MyContext) -> MyContext:\n"
        "    return context\n",
        "utf-8",
    )
    task = client.enqueue_sync("answer", MyContext(name="found"))
    with running_pool("more:pool", application.folder, application.variables, application.forks):
        assert wait_until_over(client.engine, client.queue.name) == {"complete": 1}
    assert application.service(task.agent_id)["results"] == [{"name": "found", "retry_count": 0}, None]


def test_the_retention_pattern_deletes_old_activities_and_their_logs(application: Application) -> None:
    client = application.client
    old, young = (client.enqueue_sync("any", MyContext(name=name)).agent_id for name in ("old", "young"))
    age(client.engine, timedelta(days=31), old)
    application.service(young, "clean up")
    assert [row.id for row in rows(client)] == [young]
    with Session(client.engine) as session:
        assert session.query(ActivityLog).filter_by(activity_id=old).count() == 0
