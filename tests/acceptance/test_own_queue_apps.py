"""Applications of Celery, RQ, Dramatiq and huey under test, each in an environment of its system."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_rabbitmq import PROGRAM
from tests.support.own_apps import ROOT, packages_of, run_own_app
from tests.support.servers import require_package
from tests.support.user_server import UserServer

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
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

class Marks(Middleware):
    def before_enqueue(self, broker, message, delay):
        message.options["marked"] = True

application = RedisBroker(client={NOWHERE})
for middleware in (AsyncIO(), CurrentMessage(), Marks(), Results(backend=RedisBackend(client={NOWHERE}))):
    application.add_middleware(middleware)
dramatiq.set_broker(application)

@dramatiq.actor(queue_name="refunds", store_results=True, min_backoff=100, max_backoff=100)
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
    if n == 6:
        return shop.refund.message(n) | shop.refund_async.message_with_options(args=(n,), pipe_ignore=True)
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


CELERY = """
from celery import Celery

celery = application = Celery("shop", broker="redis://127.0.0.1:{port}/0", backend="redis://127.0.0.1:{port}/1")
celery.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_default_queue="shop",
                   task_routes={{"shop.refund": {{"queue": "refunds"}}}},
                   broker_read_url="redis://127.0.0.1:{port}/0", task_ignore_result=True)

@celery.task(bind=True, autoretry_for=(ValueError,), default_retry_delay=0)
def refund(self, order):
    book(self.request.id)
    if order == 2 and not self.request.retries:
        raise ValueError("the first attempt fails")
    if order == 3:
        note.delay(order)

@celery.task(ignore_result=True, queue="notes")
def note(order):
    pass
"""
CELERY_MAKE = """
import shop

def make(n):
    return shop.refund.s(n) if n % 2 else (shop.refund, (n,), {"countdown": 0.5})
"""


def test_a_celery_application_reaches_no_server_of_the_user(tmp_path: Path) -> None:
    with closing(UserServer()) as server:
        run = run_own_app(
            tmp_path,
            packages_of("celery", "late"),
            name="celery",
            shop=CELERY.format(port=server.port),
            make=CELERY_MAKE,
            CELERY_BROKER_URL=f"redis://127.0.0.1:{server.port}/2",
            DATABASE_URL=f"postgresql://127.0.0.1:{server.port}/theirs",
        )
        assert server.connections == 0, "the run reached a server of the user"
    run.judge(repeated={2}, child="shop.note")
    second = [one["attempt"] for one in run.values("run", "ok") if one["task"] == 2]
    assert second[0] >= 2, "the first attempt failed"


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
    run.judge(repeated={4}, child="shop.note")


def test_a_dramatiq_application(tmp_path: Path) -> None:
    packages = packages_of("dramatiq", "redis")
    run = run_own_app(tmp_path, packages, name="dramatiq", shop=DRAMATIQ, make=DRAMATIQ_MAKE)
    run.judge(repeated={4}, child="Note")


def test_a_dramatiq_application_on_rabbitmq(tmp_path: Path) -> None:
    require_package("rabbitmq-server", installed=PROGRAM.exists())
    run = run_own_app(
        tmp_path,
        packages_of("dramatiq", "rabbitmq"),
        name="dramatiq_rabbitmq",
        shop="from dramatiq.brokers.rabbitmq import RabbitmqBroker"
        + DRAMATIQ.replace(f"RedisBroker(client={NOWHERE})", 'RabbitmqBroker(host="rabbit.example")'),
        make=DRAMATIQ_MAKE,
    )
    run.judge(repeated={4}, child="Note")


HUEY_FILES = """
import json
from pathlib import Path
from huey import FileHuey, SqliteHuey
from harness.targets.applications.huey import LABEL_ATTRIBUTE, note_end, noted_ends, put_on

for own in (SqliteHuey("shop", filename="theirs.db"), FileHuey("shop", path="theirs")):
    before = set(Path().rglob("*"))
    folder = Path(type(own).__name__)
    folder.mkdir()
    put_on(own, url="redis://nowhere.example", queue="run", folder=folder)
    task = own.task()(len)
    sent = task.s("order")
    setattr(sent, LABEL_ATTRIBUTE, {"number": 7, "work": 0})
    own.enqueue(sent)
    taken = own.dequeue()
    assert (taken.args, taken.kwargs, getattr(taken, LABEL_ATTRIBUTE)["number"]) == (("order",), {}, 7)
    note_end(own, taken.id, "complete")
    assert noted_ends(own, [taken.id, "other"]) == {taken.id: "complete"}
    written = {one for one in set(Path().rglob("*")) - before if one.parts[0] != folder.name}
    assert not written, written
"""


def test_storages_of_huey_in_files_are_in_the_folder_of_the_run(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), packages_of("huey")])
    done = subprocess.run(
        [sys.executable, "-c", HUEY_FILES],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_huey_application(tmp_path: Path) -> None:
    run = run_own_app(tmp_path, packages_of("huey"), name="huey", shop=HUEY, make=HUEY_MAKE)
    run.judge(repeated={4, 8}, child="note")
