"""Pools of two versions on one queue, as during a deployment: each task runs where it can run."""

from __future__ import annotations

import signal
from uuid import UUID

import pytest
from pydantic import BaseModel

from agentexec.task import TaskRequest
from tests.conftest import Eventually
from tests.support.pool_process import App
from tests.support.record import require_sound, row_of, rows_of

pytestmark = pytest.mark.integration

LATER = 60.0  # seconds

# Version 2 knows one more task, and one more kind of report.
VERSION = """
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

import agentexec as ax

pool = ax.Pool()
VERSION = {version}


class Report(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: {kinds}


class Ran(BaseModel):
    version: int


@pool.task("report")
async def report(agent_id: UUID, context: Report) -> Ran:
    return Ran(version=VERSION)


async def added(agent_id: UUID, context: Report) -> Ran:
    return Ran(version=VERSION)


if VERSION > 1:
    pool.add_task("added", added, lock_key="one")
"""


class Report(BaseModel):
    kind: str = "short"


@pytest.fixture
def versions(app: App) -> App:
    for version, kinds in (1, 'Literal["short"]'), (2, 'Literal["short", "long"]'):
        (app.folder / f"v{version}.py").write_text(VERSION.format(version=version, kinds=kinds))
    return app


def enqueue(app: App, name: str, *kinds: str) -> list[UUID]:
    requests = [TaskRequest(task_name=name, context=Report(kind=kind)) for kind in kinds]
    return [task.agent_id for task in app.client.enqueue_many_sync(requests)]


def announced(app: App, eventually: Eventually, name: str, versions: int = 1) -> None:
    eventually(lambda: len(app.client.queue.announced().get(name, ())) == versions, deadline=LATER)


def require_ran_once_in(app: App, tasks: list[UUID], *versions: int) -> None:
    for row in rows_of(app.client.engine, tasks).values():
        assert row.result is not None
        assert row.result["version"] in versions
        assert row.attempt == 1, "a claim that goes back is no attempt"
        assert [entry.status for entry in row.log] == ["queued", "running", "complete"]
        require_sound(row)


def test_an_old_pool_leaves_new_tasks_to_a_new_one(versions: App, eventually: Eventually) -> None:
    app = versions
    old = app.pool(module="v1", num_workers=2)
    announced(app, eventually, "report")
    new_kind = enqueue(app, "added", *["short"] * 20)
    eventually(lambda: "left to other pools" in old.log, deadline=LATER)
    assert set(app.statuses(new_kind)) == {"queued"}
    app.pool(module="v2", num_workers=1)
    announced(app, eventually, "report", versions=2)
    both = enqueue(app, "report", *["short", "long"] * 20)
    eventually(lambda: app.all_complete([*new_kind, *both]), deadline=LATER)
    require_ran_once_in(app, new_kind, 2)
    require_ran_once_in(app, both[1::2], 2)
    require_ran_once_in(app, both[::2], 1, 2)
    eventually(lambda: app.client.queue.depth().known == 0)
    old.signal(signal.SIGTERM)
    assert old.wait() == 0


def test_a_task_that_no_pool_knows_is_a_dead_letter_after_the_time_limit(
    versions: App, eventually: Eventually
) -> None:
    app = versions
    pool = app.pool(module="v1", unknown_task_seconds=2)
    (task,) = enqueue(app, "added", "short")
    eventually(lambda: app.statuses([task]) == ["error"], deadline=LATER)
    row = row_of(app.client.engine, task)
    assert row.attempt == 1
    assert "No handler is registered for 'added'; no live pool has known it for 2 s." in str(row.error)
    assert "agentexec dlq requeue" in str(row.error)
    assert pool.log.count("it becomes a dead letter") == 1
    eventually(lambda: app.client.queue.depth().dead == 1)


def test_a_context_that_no_version_can_validate_fails_with_the_reason(
    versions: App, eventually: Eventually
) -> None:
    app = versions
    app.pool(module="v1", num_workers=1, unknown_task_seconds=3)
    announced(app, eventually, "report")
    (alone,) = enqueue(app, "report", "wrong")
    eventually(lambda: app.statuses([alone]) == ["error"], deadline=LATER)
    app.pool(module="v2", num_workers=1, unknown_task_seconds=3)
    announced(app, eventually, "report", versions=2)
    (task,) = enqueue(app, "report", "wrong")
    eventually(lambda: app.statuses([task]) == ["error"], deadline=LATER)
    row = row_of(app.client.engine, task)
    assert row.attempt == 1
    assert "The context of report does not fit Report: kind: Input should be" in str(row.error)
