"""Code of the production guide as written, on real servers, beside the safe form of docs/reference/guide.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Engine, event, update
from sqlalchemy.orm import Session

from agentexec.activity import Activity
from agentexec.core import redis_client
from agentexec.core.db import engine_for
from agentexec.core.redis_client import get_redis
from agentexec.producer.client import Client
from agentexec.store.status import Status
from tests.support.activity_support import age
from tests.support.guide import as_written, safe_forms
from tests.support.production import Site

pytestmark = pytest.mark.integration

READY = "/health/ready"


class Letter(BaseModel):
    text: str


@pytest.fixture
def engine(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine of an application on the site, whose settings are those of its process."""
    monkeypatch.setattr(redis_client, "default_settings", site.settings)
    for name, url in (("DATABASE_URL", "database_url"), ("REDIS_URL", "redis_url")):
        monkeypatch.setenv(name, getattr(site.endpoints, url))
    engine = engine_for(site.endpoints.database_url)
    yield engine
    engine.dispose()


def answer(code: str, **names: Any) -> tuple[int, dict[str, Any]]:
    """What readiness answers in an application that has this code."""
    names |= {"json": json}
    exec(code, names)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://application") as client:
            response = await client.get(READY)
        await (await get_redis()).aclose()
        return response

    response = asyncio.run(ask())
    if "checks" in names:
        names["checks"].close()
    return response.status_code, response.json()


def test_the_readiness_of_the_guide_is_503_beside_healthy_servers(engine: Engine) -> None:
    code = as_written()["readiness"]
    status, body = answer(code, app=FastAPI(), engine=engine)
    assert (status, len(body["errors"])) == (503, 1)
    assert body["errors"][0].startswith("database: Textual SQL expression 'SELECT 1' should be")
    wrapped = code.replace('"SELECT 1"', '__import__("sqlalchemy").text("SELECT 1")')
    assert answer(wrapped, app=FastAPI(), engine=engine) == (200, {"status": "ready"})


def test_the_safe_readiness_answers_and_names_what_is_wrong(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = safe_forms()["Readiness"]
    names: dict[str, Any] = {}
    assert answer(code, **names) == (200, {"status": "ready"})
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    status, body = answer(code, **names)
    assert (status, [error.partition(":")[0] for error in body["errors"]]) == (503, ["redis"])


def old_tasks(client: Client, ended: int) -> list[Any]:
    """So many activities that ended 31 days ago, and one as old that is due later."""
    tasks = [client.enqueue_sync("any", Letter(text="old")).agent_id for _ in range(ended)]
    later = client.enqueue_sync("any", Letter(text="due later"), delay=40 * 86_400.0).agent_id
    with client.engine.begin() as connection:
        connection.execute(update(Activity).where(Activity.id.in_(tasks)).values(status=Status.COMPLETE))
    age(client.engine, timedelta(days=31), *tasks, later)
    return [*tasks, later]


def cleaned(code: str, engine: Engine, client: Client, name: str) -> tuple[int, set[str]]:
    """How many activities a clean-up loads, and the statuses of those that it leaves."""
    loaded: list[Any] = []
    event.listen(Activity, "load", lambda *given: loaded.append(given))
    names: dict[str, Any] = {"Session": Session, "engine": engine, "Activity": Activity}
    names["logger"] = __import__("logging").getLogger("application")
    exec(code, names)
    names[name]()
    seen = len(loaded)
    with Session(client.engine) as session:
        rows = session.query(Activity.status).filter_by(queue_name=client.queue.name)
        return seen, {row.status.value for row in rows}


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")
def test_the_retention_of_the_guide_loads_every_row_and_deletes_tasks_that_are_due(
    engine: Engine, client: Client
) -> None:
    old_tasks(client, 50)
    loaded, left = cleaned(as_written()["retention"], engine, client, "cleanup_old_activities")
    assert loaded >= 51
    assert left == set(), "the task that was due later is gone too"


def test_the_safe_retention_loads_no_row_and_leaves_tasks_that_are_due(
    engine: Engine, client: Client
) -> None:
    old_tasks(client, 50)
    loaded, left = cleaned(safe_forms()["Retention"], engine, client, "clean_up")
    assert loaded == 0
    assert left == {"queued"}
