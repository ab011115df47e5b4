"""A Celery application under test, in an environment with Celery: its own tasks, and only the servers of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.history import History, OperationType
from harness.targets.adapter_environment import AdapterEnvironment
from harness.targets.adapter_file import AdapterFile
from tests.support.user_server import UserServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]

SHOP = """
import os
import psycopg
from celery import Celery

celery = Celery("shop", broker="redis://127.0.0.1:{port}/0", backend="redis://127.0.0.1:{port}/1")
celery.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_default_queue="shop",
                   task_routes={{"shop.refund": {{"queue": "refunds"}}}},
                   broker_read_url="redis://127.0.0.1:{port}/0", task_ignore_result=True)

def create_tables(url):
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE shop_ledger (task text, booked_for int)")

@celery.task(bind=True, autoretry_for=(ValueError,), default_retry_delay=0)
def refund(self, order):
    if order == 2 and not self.request.retries:
        raise ValueError("the first attempt fails")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO shop_ledger VALUES (%s, %s)", (self.request.id, order))
    if order == 3:
        note.delay(order)

@celery.task(ignore_result=True, queue="notes")
def note(order):
    pass
"""

CHAOS = """
import shop
from harness.testing import app

SHOP = app(shop.celery, setup=shop.create_tables, make=lambda n: shop.refund.s(n))

@SHOP.invariant("booked once", sql="SELECT task, count(*) FROM shop_ledger GROUP BY 1")
def once(rows, completed):
    return {task for task in completed if rows.get(task) != 1}
"""


@pytest.fixture
def server() -> Iterator[UserServer]:
    with closing(UserServer()) as server:
        yield server


def celery_site() -> str:
    """The packages of an environment with Celery, installed once."""
    wanted = AdapterFile(
        name="celery-application", folder=ROOT, pool=(), client=(), requirements=("celery>=5.5,<6",)
    )
    environment = AdapterEnvironment(wanted)
    environment.create(print)
    [site] = environment.folder.glob("lib/python*/site-packages")
    return str(site)


def test_a_celery_application_runs_its_own_tasks_and_an_unsafe_one_is_named(
    tmp_path: Path, server: UserServer
) -> None:
    (tmp_path / "shop.py").write_text(SHOP.format(port=server.port))
    (tmp_path / "chaos_shop.py").write_text(CHAOS)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), celery_site()]),
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{server.port}/2",
        "DATABASE_URL": f"postgresql://127.0.0.1:{server.port}/theirs",
    }
    command = [
        sys.executable,
        "-m",
        "harness",
        "chaos",
        "run",
        "kill-worker-mid-task",
        "--app",
        "chaos_shop:SHOP",
    ]
    command += ["--seed", "1", "--tasks", "60", "--report", "report"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert server.connections == 0, "the run reached a server of the user"
    assert "kill-worker-mid-task, invariant: booked once: broken " in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    [found] = json.loads((tmp_path / "report" / "verdict.json").read_text("utf-8"))["scenarios"]
    judged = {name: one["verdict"] for name, one in found["checkers"].items()}
    assert judged.pop("invariant: booked once") == "INVALID"
    assert "INVALID" not in judged.values(), judged
    history = History.load(tmp_path / "report" / "history" / "kill-worker-mid-task")
    assert {op.value["task"] for op in history.where("run", OperationType.OK)} == set(range(1, 61))
    assert {op.value["status"] for op in history.where("record")} == {"complete"}
    second = [op.value for op in history.where("run", OperationType.OK) if op.value["task"] == 2]
    assert second[0]["attempt"] >= 2, "the first attempt failed"
    children = [op.value["name"] for op in history.where("child", OperationType.OK)]
    assert children == ["shop.note"] * len(children)
    assert children
