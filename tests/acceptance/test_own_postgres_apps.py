"""Applications of Procrastinate and PgQueuer under test, in environments of these: their own tasks and options."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from tests.support.own_apps import packages_of, run_own_app

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PROCRASTINATE = """
import procrastinate

application = app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo="host=postgres.example", min_size=1),
    worker_defaults={"concurrency": 2, "delete_jobs": "always"},
)

@app.task(queue="refunds", retry=1, pass_context=True)
def refund(context, order, fails=False):
    assert not [name for name in context.job.task_kwargs if "harness" in name]
    book(context.job.id)
    if fails and not context.job.attempts:
        raise ValueError("the first attempt fails")
    if order == 3:
        note(order=order)  # called, and not deferred
        note.defer(order=order)
    if order == 10:
        asyncio.run(until_tocked())  # a drain does not wait for what a schedule enqueues

@app.task(lock="orders")
async def refund_async(order):
    pass

@app.task(queue="notes")
def note(order):
    pass

@app.periodic(cron="* * * * * *")
@app.task
def tick(timestamp):
    tock.defer()

@app.task
async def tock():
    tocked()

@app.periodic(cron="*/10 * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context, timestamp):
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)
"""
PROCRASTINATE_MAKE = """
import shop

def make(n):
    if n == 2:
        return shop.refund, {"order": n}, {"schedule_in": {"seconds": 1}, "priority": 3}
    if n == 4:
        return "shop.refund", {"order": n, "fails": True}
    return shop.refund.configure(lock=f"order-{n}"), {"order": n}
"""
PGQUEUER = """
import json
from contextlib import asynccontextmanager
from pgqueuer import DatabaseRetryEntrypointExecutor, PgQueuer
from datetime import timedelta

class Retries(DatabaseRetryEntrypointExecutor):
    initial_delay = timedelta(seconds=0.1)

@asynccontextmanager
async def application():
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        pgq = PgQueuer.from_psycopg_connection(connection)

        @pgq.entrypoint("refund", executor_factory=lambda given: Retries(given, initial_delay=timedelta(seconds=0.1)))
        async def refund(job):
            assert not [name for name in job.headers or () if "harness" in name]
            order = json.loads(job.payload)
            book(job.id)
            if order.get("fails") and not job.attempts:
                raise ValueError("the first attempt fails")
            if order["order"] == 3:
                await pgq.queries.enqueue("note", b"3")
            if order["order"] == 10:
                await until_tocked()  # a drain does not wait for what a schedule enqueues

        @pgq.entrypoint("note", concurrency_limit=1)
        async def note(job):
            assert job.payload == b"3"

        @pgq.schedule("tick", "* * * * * *")
        async def tick(schedule):
            await pgq.queries.enqueue("tock", None)

        @pgq.entrypoint("tock")
        async def tock(job):
            assert not job.headers
            tocked()

        yield pgq
"""
PGQUEUER_MAKE = """
from datetime import timedelta

def make(n):
    if n == 2:
        return "refund", {"order": n}, {"execute_after": timedelta(seconds=1), "priority": 3}
    if n == 4:
        return "refund", {"order": n, "fails": True}, {"headers": {"mine": "1"}}
    return "refund", f'{{"order": {n}}}'
"""


def test_a_procrastinate_application(tmp_path: Path, servers: EmbeddedEnvironment) -> None:
    run = run_own_app(
        tmp_path,
        packages_of("procrastinate"),
        name="procrastinate",
        shop=PROCRASTINATE,
        make=PROCRASTINATE_MAKE,
        options=on(servers),
    )
    run.judge(repeated={4}, child="shop.note")
    assert run.scheduled == {"shop.tick", "shop.tock", "shop.retry_stalled_jobs"}


def test_a_pgqueuer_application(tmp_path: Path, servers: EmbeddedEnvironment) -> None:
    packages = packages_of("pgqueuer")
    run = run_own_app(
        tmp_path, packages, name="pgqueuer", shop=PGQUEUER, make=PGQUEUER_MAKE, options=on(servers)
    )
    run.judge(repeated={4}, child="note")
    assert run.scheduled == {"tock"}


def on(servers: EmbeddedEnvironment) -> tuple[str, ...]:
    """The options of a run on servers of the user, which need not start again."""
    urls = ("--database-url", servers.endpoints.database_url, "--redis-url", servers.endpoints.redis_url)
    return ("--backend", "external", "--allow-destructive", "postgres", *urls)
