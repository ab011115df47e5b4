"""Applications of RQ, Dramatiq and huey under test, in environments of these: their own tasks, queues and options."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from tests.support.own_apps import OwnRun, packages_of, run_own_app

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NOWHERE = 'redis.Redis(host="redis.example", port=1)'
RQ = f"""
import redis
from rq import Queue, get_current_job
from rq.decorators import job

server = {NOWHERE}
application = [Queue("refunds", connection=server), Queue("notes", connection=server, is_async=False)]

class Shop:
    @staticmethod
    def refund(order, fails=False):
        current = get_current_job()
        book(current.id)
        if fails and current.retries_left == 3:
            raise ValueError("the first attempt fails")
        if order == 3:
            note.delay(order)

async def refund(order):
    Shop.refund(order)

@job("notes", connection=server)
def note(order):
    pass
"""
RQ_MAKE = """
from datetime import timedelta
from rq import Queue, Retry
import shop

def make(n):
    if n == 1:
        return Queue.prepare_data(shop.Shop.refund, (n,), result_ttl=0, retry=Retry(3))
    if n == 2:
        return shop.refund, {"order": n}, {"enqueue_in": timedelta(seconds=1), "retry": Retry(3), "queue": "notes"}
    if n == 4:
        return "shop.Shop.refund", {"order": n, "fails": True}, {"retry": Retry(3), "meta": {"mine": 1}}
    return shop.refund, (n,), {"retry": Retry(3)}
"""
DRAMATIQ = f"""
import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, CurrentMessage, Middleware

class Marks(Middleware):
    def before_enqueue(self, broker, message, delay):
        message.options["marked"] = True

application = RedisBroker(client={NOWHERE})
for middleware in (AsyncIO(), CurrentMessage(), Marks()):
    application.add_middleware(middleware)
dramatiq.set_broker(application)

@dramatiq.actor(queue_name="refunds", min_backoff=100, max_backoff=100)
def refund(order, fails=False):
    message = CurrentMessage.get_current_message()
    assert message.options["marked"]
    book(message.message_id)
    if fails and not message.options.get("retries"):
        raise ValueError("the first attempt fails")
    if order == 3:
        Note.send(order)

@dramatiq.actor
async def refund_async(order):
    refund(order)

class Note(dramatiq.GenericActor):
    class Meta:
        queue_name = "notes"
    def perform(self, order):
        pass
"""
DRAMATIQ_MAKE = """
from datetime import timedelta
import shop

def make(n):
    if n == 2:
        return shop.refund, {"order": n}, {"delay": timedelta(seconds=1), "priority": 3}
    if n == 4:
        return "refund", {"order": n, "fails": True}
    if n == 5:
        return shop.refund_async.message(n)
    return shop.refund, (n,)
"""
HUEY = """
from huey import PriorityRedisHuey

application = huey = PriorityRedisHuey("shop", host="redis.example", port=1, results=False, immediate=True)

@huey.pre_execute()
def unlabelled(task):
    assert not [name for name in task.kwargs if "harness" in name]

@huey.task(retries=1, context=True)
def refund(order, fails=False, task=None):
    book(task.id)
    if fails and task.retries:
        raise ValueError("the first attempt fails")
    if order == 3:
        note(order)

@huey.task()
def note(order):
    pass
"""
HUEY_MAKE = """
import shop

def make(n):
    if n == 2:
        return shop.refund, {"order": n}, {"delay": 1, "priority": 3}
    if n % 4 == 0:
        return "refund", (n, True)
    return shop.refund.s(n)
"""


def judge(run: OwnRun, unsafe: set[int], *, child: str) -> None:
    """The unsafe table names the tasks that ran twice, the safe one none; nothing else is INVALID."""
    assert run.verdicts.pop("invariant: unsafe") == "INVALID", run.output
    assert run.verdicts["invariant: safe"] == "VALID"
    assert set(run.verdicts.values()) <= {"VALID", "NOT ASKED"}, run.verdicts
    assert "kill-worker-mid-task, invariant: unsafe: broken " in run.output
    assert run.code == 1
    again = {one["task"] for one in run.values("run", "fail")}
    assert again >= unsafe, "an attempt that fails is repeated"
    ended = {one["task"] for one in run.values("record", "info") if one["status"] == "complete"}
    assert ended == {one["task"] for one in run.values("run", "ok")}
    assert child in {one["name"] for one in run.values("child", "ok")}


def test_an_rq_application_on_servers_of_the_user(tmp_path: Path, servers: EmbeddedEnvironment) -> None:
    urls = ("--database-url", servers.endpoints.database_url, "--redis-url", servers.endpoints.redis_url)
    run = run_own_app(
        tmp_path,
        packages_of("rq"),
        name="rq",
        shop=RQ,
        make=RQ_MAKE,
        options=("--backend", "external", "--allow-destructive", "postgres", *urls),
    )
    judge(run, {4}, child="shop.note")


def test_a_dramatiq_application(tmp_path: Path) -> None:
    packages = packages_of("dramatiq", "redis")
    judge(
        run_own_app(tmp_path, packages, name="dramatiq", shop=DRAMATIQ, make=DRAMATIQ_MAKE), {4}, child="Note"
    )


def test_a_huey_application(tmp_path: Path) -> None:
    run = run_own_app(tmp_path, packages_of("huey"), name="huey", shop=HUEY, make=HUEY_MAKE)
    judge(run, {4, 8, 12, 16}, child="note")
