"""Applications of arq, SAQ, streaq and taskiq under test, each in its own environment, all of them at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from harness.environments.embedded import EmbeddedEnvironment
from harness.history import History, OperationType
from tests.support.own_apps import packages_of
from tests.support.user_server import UserServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
TASKS = 16

BOOKS = """
import asyncio
import os
import redis

books = redis.Redis.from_url(os.environ["REDIS_URL"])

def book(task):
    books.hincrby("{kind}:booked", task)
    books.hset("{kind}:booked-once", task, 1)

def tocked():
    books.set("{kind}:tocked", 1)

async def until_tocked():  # a drain does not wait for what a schedule enqueues
    while not books.exists("{kind}:tocked"):
        await asyncio.sleep(0.05)
"""

ARQ = """
import asyncio
from arq import Retry, cron
from arq.connections import RedisSettings
from books import book, tocked, until_tocked

async def refund(ctx, order):
    if order == 2 and ctx["job_try"] == 1:
        raise Retry()
    await asyncio.to_thread(book, ctx["job_id"])
    if order == 3:
        await send_note(ctx)
    if order == 16:
        # The application keeps no result of this job, so that its id can be used again once it has ended.
        while await send_note(ctx) is None:
            await asyncio.sleep(0.05)
        await until_tocked()
        await asyncio.sleep(1.5)  # longer than the lease of the run

async def send_note(ctx):
    return await ctx["redis"].enqueue_job("note", ctx["fee"], _queue_name="shop", _job_id="one-at-a-time")

async def note(ctx, order):
    pass

async def tick(ctx):
    await ctx["redis"].enqueue_job("tock")

async def tock(ctx):
    tocked()

async def on_startup(ctx):
    ctx["fee"] = 1

class WorkerSettings:
    functions = [refund, note, tock]
    cron_jobs = [cron(tick, second=None)]
    job_timeout = 20
    queue_name = "shop"
    on_startup = on_startup
    keep_result = 0
    redis_settings = RedisSettings(host="127.0.0.1", port={port})

app, make = WorkerSettings, lambda n: (refund, (n,))
"""

SAQ = """
from saq import CronJob, Queue
from books import book, tocked, until_tocked

queue = Queue.from_url("redis://127.0.0.1:{port}", name="shop")

def refund(ctx, *, order):
    if order == 2 and ctx["job"].attempts == 1:
        raise ValueError("the first attempt fails")
    book(ctx["job"].key)

async def notify(ctx, *, order):
    book(ctx["job"].key)
    await queue.enqueue("note", order=ctx["fee"])
    if order == 16:
        await until_tocked()

async def note(ctx, *, order):
    pass

async def tick(ctx):
    await queue.enqueue("tock")

async def tock(ctx):
    tocked()

async def startup(ctx):
    ctx["fee"] = 1

settings = {{"queue": queue, "functions": [refund, ("notify", notify), note, tock], "startup": startup,
            "cron_jobs": [CronJob(tick, cron="* * * * * */1")]}}
app = queue

def make(n):
    name = "notify" if n in (3, 16) else refund
    return (name, {{"order": n}}, {{"retries": 5, "timeout": 20 if n == 16 else 2}})
"""

STREAQ = """
from contextlib import asynccontextmanager
from streaq import StreaqRetry, Worker
from books import book, tocked, until_tocked

@asynccontextmanager
async def lifespan():
    yield 1

app = Worker(redis_url="redis://127.0.0.1:{port}", queue_name="shop", lifespan=lifespan)

@app.middleware
def unlabelled(own):
    async def run(*args, **kwargs):
        assert not kwargs
        return await own(*args)
    return run

@app.task
def refund(order):
    if order == 2 and refund.context.tries == 1:
        raise StreaqRetry("the first attempt fails", delay=0)
    book(refund.context.task_id)

@app.task
async def notify(order):
    book(notify.context.task_id)
    await note.enqueue(app.context)
    if order == 16:
        await until_tocked()

@app.task(ttl=0)
async def note(order):
    pass

@app.cron("* * * * * * *")
async def tick():
    await tock.enqueue()

@app.task
async def tock():
    tocked()

make = lambda n: notify.enqueue(n) if n in (3, 16) else refund.enqueue(n)
"""

TASKIQ = """
import redis
from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends, TaskiqEvents
from taskiq_redis import RedisStreamBroker
from books import book

app = RedisStreamBroker("redis://127.0.0.1:{port}", queue_name="shop", unacknowledged_lock_timeout=2)
app.add_middlewares(SimpleRetryMiddleware())

@app.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state):
    state.fee = 1

@app.on_event(TaskiqEvents.CLIENT_STARTUP)
async def connect(state):
    redis.Redis(host="127.0.0.1", port={port}).ping()

@app.task(retry_on_error=True)
def refund(order: int, context: Context = TaskiqDepends()) -> None:
    if order == 2 and "_retries" not in context.message.labels:
        raise ValueError("the first attempt fails")
    book(context.message.task_id)

@app.task
async def notify(order: int, context: Context = TaskiqDepends()) -> None:
    book(context.message.task_id)
    await note.kiq(context.state.fee)

@app.task
async def note(order: int) -> None:
    pass

make = lambda n: (notify.kicker() if n == 3 else refund, (n,))
"""

CHAOS = """
import shop
from harness.checkers import standard
from harness.faults.process import kill_worker_at_gate
from harness.scenario import PoolNeeds, Scenario
from harness.testing import app
from harness.workloads.numbered_tasks import NumberedTasks

SHOP = app(shop.app, make=shop.make)
KILL = Scenario(
    name="kill", summary="a worker killed once", workload=NumberedTasks(rate={rate}, work=(0.05, 0.1)),
    faults=(kill_worker_at_gate(at=0.4),),
    checkers=standard(concurrency=2, minimum_faults=1, minimum_kills=1, recovery_p99="promised"),
    pool=PoolNeeds(workers=1, concurrency=2, lease=1.0),
)

@SHOP.invariant("booked", redis="HGETALL {kind}:booked")
def booked(rows, completed):
    return {{task for task in completed if rows.get(task) != 1}}

@SHOP.invariant("booked once", redis="HGETALL {kind}:booked-once")
def once(rows, completed):
    return {{task for task in completed if rows.get(task) != 1}}
"""

# taskiq looks for tasks of a dead worker only when a new message comes, so some have to come after its idle time-out.
RATES = {"arq": 20.0, "saq": 20.0, "streaq": 20.0, "taskiq": 2.0}
SHOPS = {"arq": ARQ, "saq": SAQ, "streaq": STREAQ, "taskiq": TASKIQ}


@dataclass
class Run:
    """The run of one kind, which the others run beside."""

    process: subprocess.Popen[str]
    folder: Path

    def judged(self) -> tuple[dict[str, Any], History, str]:
        """The results of the checkers, the history, and the output."""
        output, _ = self.process.communicate(timeout=240)
        verdict = self.folder / "report" / "verdict.json"
        assert verdict.exists(), output
        [found] = json.loads(verdict.read_text("utf-8"))["scenarios"]
        return found["checkers"], History.load(self.folder / "report" / "history" / "kill"), output


@pytest.fixture(scope="module")
def server() -> Iterator[UserServer]:
    with closing(UserServer()) as server:
        yield server


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, servers: EmbeddedEnvironment, server: UserServer
) -> Iterator[Mapping[str, Run]]:
    """One run of each kind, on one Redis."""
    found = {}
    urls = servers.endpoints
    database = urlsplit(urls.database_url).path.strip("/")
    options = ["--backend", "external", "--allow-destructive", database, "--database-url", urls.database_url]
    options += ["--redis-url", urls.redis_url, "--seed", "1", "--tasks", str(TASKS), "--report", "report"]
    for kind, shop in SHOPS.items():
        folder = tmp_path_factory.mktemp(kind)
        (folder / "books.py").write_text(BOOKS.format(kind=kind))
        (folder / "shop.py").write_text(shop.format(port=server.port))
        (folder / "chaos_shop.py").write_text(CHAOS.format(kind=kind, rate=RATES[kind]))
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), packages_of(kind)]),
            "REDIS_URL": f"redis://127.0.0.1:{server.port}/2",
        }
        command = [sys.executable, "-m", "harness", "chaos", "run", "chaos_shop:KILL"]
        process = subprocess.Popen(
            [*command, "--app", "chaos_shop:SHOP", *options],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        found[kind] = Run(process=process, folder=folder)
    yield found
    for run in found.values():
        run.process.communicate(timeout=240)
    with closing(redis.Redis.from_url(urls.redis_url)) as client:
        client.delete(*(f"{kind}:{name}" for kind in SHOPS for name in ("booked", "booked-once", "tocked")))


@pytest.mark.parametrize("kind", SHOPS)
def test_an_application_runs_its_own_tasks_and_an_unsafe_one_is_named(
    kind: str, runs: Mapping[str, Run], server: UserServer
) -> None:
    checkers, history, output = runs[kind].judged()
    judged = {name: one["verdict"] for name, one in checkers.items()}
    assert judged.pop("invariant: booked") == "INVALID", output
    assert "kill, invariant: booked: broken " in output
    assert "INVALID" not in judged.values(), output
    assert judged["invariant: booked once"] == judged["delivery"] == "VALID", output
    assert server.connections == 0, "the run reached a server of the user"
    ended = {op.value["task"]: op.value for op in history.where("run", OperationType.OK)}
    assert ended.keys() == set(range(1, TASKS + 1))
    assert {op.value["status"] for op in history.where("record")} == {"complete"}
    failed = [op.value["task"] for op in history.where("run", OperationType.FAIL)]
    assert failed.count(2) == 1, "the first attempt failed"
    last = [op for op in history.where("run", OperationType.INVOKE) if op.value["task"] == TASKS]
    assert len(last) == 1, "it takes longer than the lease on arq, and runs once"
    children = [op.value for op in history.where("child", OperationType.OK)]
    names = {
        was: {
            one["name"].removeprefix("cron:").removeprefix("shop:")
            for one in children
            if one.get("scheduled", False) is was
        }
        for was in (False, True)
    }
    assert names[False] == {"note"}
    assert names[True] == (set() if kind == "taskiq" else {"tick", "tock"})
