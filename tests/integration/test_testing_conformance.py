"""An eager block leaves the same record as a real pool on real servers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from agentexec import testing
from agentexec.activity.querying import detail
from agentexec.task import Task
from tests.conftest import Eventually
from tests.support.activity_pool import running_pool
from tests.support.eager_tasks import Job, pool
from tests.support.production import Site

pytestmark = pytest.mark.integration

NAMES = (
    "complete", "in_a_thread", "retry", "fail", "give_up", "too_slow", "hung", "invalid_result", "nothing", "parent",
)  # fmt: skip
RETRIES = 1
OVER_WITHIN = 90  # seconds, on a busy machine: `hung` ends its worker with every attempt


def test_every_end_of_a_handler_is_recorded_as_by_a_real_pool(
    site: Site, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = site.environment(
        AGENTEXEC_MAX_TASK_RETRIES=str(RETRIES),
        AGENTEXEC_RETRY_BASE_SECONDS="0.01",
        AGENTEXEC_NUM_WORKERS="1",
        AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT="5",
    )
    monkeypatch.setattr(pool, "settings", pool.settings.model_copy(update={"max_task_retries": RETRIES}))
    with testing.eager(pool) as eager:
        expected = [recorded(eager.engine, eager.enqueue_sync(name, Job(number=4))) for name in NAMES]
    with (
        site.client() as client,
        running_pool("tests.support.eager_tasks:pool", tmp_path, environment, site.forks),
    ):
        for name, wanted in zip(NAMES, expected, strict=True):  # one after the other, as in an eager block
            task = client.enqueue_sync(name, Job(number=4))
            eventually(partial(is_over, client.engine, task), deadline=OVER_WITHIN)
            assert recorded(client.engine, task) == wanted, name


def is_over(engine: Engine, task: Task) -> bool:
    with Session(engine) as session:
        found = detail(session, task.agent_id)
    return found is not None and found.status.terminal


def recorded(engine: Engine, task: Task) -> dict[str, Any]:
    """What does not depend on tokens and times."""
    with Session(engine) as session:
        found = detail(session, task.agent_id)
    assert found is not None
    log = [(entry.status, entry.message, entry.percentage) for entry in found.logs]
    return {
        "status": found.status,
        "result": found.result,
        "error": found.error,
        "attempts": found.attempt,
        "log": log,
    }
