"""An application of agentexec under test: its handlers do what they do without the harness, on the run's servers."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import TargetFailed
from harness.gate import GateKeeper
from harness.history import History, Operation, OperationType
from harness.targets.base import TargetSession, TargetSettings, TaskSpec
from harness.testing import Application
from tests.support.user_server import UserServer

pytestmark = pytest.mark.integration

SHOP = """
import os, threading
from uuid import UUID
import psycopg
import agentexec as ax
from pydantic import BaseModel, ConfigDict

pool = ax.Pool(database_url="{real_database}", redis_url="{real_redis}", queue_name="own", num_workers=1)
emails = ax.Client(database_url="{real_database}", redis_url="{real_redis}", queue_name="own", registry=pool.registry)

class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int

class Receipt(BaseModel):
    text: str

def note(agent_id, what):
    with psycopg.connect(os.environ["SHOP_DSN"], autocommit=True) as connection:
        connection.execute("INSERT INTO own_notes VALUES (%s, %s)", (agent_id, what))

@pool.task("async", lock_key="order:{{number}}")
async def in_loop(agent_id: UUID, context: Order) -> Receipt:
    ax.current_task().report("working", 50)
    ax.current_task().close_with("paid")
    note(agent_id, "async")
    return Receipt(text=f"order {{context.number}}")

@pool.task("thread")
def in_thread(agent_id: UUID, context: Order) -> Receipt:
    assert threading.current_thread() is not threading.main_thread()
    note(ax.current_task().agent_id, "thread")
    return Receipt(text="thread")

@pool.task("awaitable")
def gives_awaitable(agent_id: UUID, context: Order):
    return in_loop(agent_id, context)

class Callable:
    async def __call__(self, agent_id: UUID, context: Order) -> Receipt:
        note(agent_id, "callable")
        return Receipt(text="callable")

pool.add_task("callable", Callable())

@pool.task("flaky", max_retries=2)
async def flaky(agent_id: UUID, context: Order) -> None:
    if ax.current_task().attempt == 1:
        raise ValueError("the first attempt fails")
    note(agent_id, "flaky")

@pool.task("parent")
async def parent(agent_id: UUID, context: Order) -> None:
    await ax.enqueue("child", Order(number=context.number))
    emails.enqueue_sync("child", context)

@pool.task("child")
async def child(agent_id: UUID, context: Order) -> None:
    note(agent_id, "child")
"""

CHAOS = """
import own_shop
from harness.testing import app

NAMES = ("async", "thread", "awaitable", "callable", "flaky", "parent")

def make(n):
    context = own_shop.Order(number=n)
    wrong = {
        21: ({"number": n}, {}),
        22: (context, {"priority": "urgent"}),
        23: (own_shop.Receipt(text="of another type"), {}),
        24: (context, {"delay": "soon"}),
    }
    if n in wrong:
        return "thread", *wrong[n]
    if n > 10:
        return "thread", context, {"idempotency_key": "one"}
    return NAMES[(n - 1) % len(NAMES)], context

OWN = app(own_shop.pool, make=make, work=0.0)
"""


@pytest.fixture
def real() -> Iterator[UserServer]:
    with closing(UserServer()) as server:
        yield server


@dataclass
class OwnRun:
    """An open session of an application, with its gates and its history."""

    session: TargetSession
    gates: GateKeeper
    folder: Path

    def history(self) -> History:
        return History.load(self.folder)


@pytest.fixture
def start(
    servers: EmbeddedEnvironment, real: UserServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., OwnRun]]:
    """Write the modules of a shop and of its chaos file into the current folder, and open a session of it."""
    database = f"postgresql://shop:hunter2@127.0.0.1:{real.port}/shop"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SHOP_DSN", database)
    monkeypatch.setenv("AGENTEXEC_DATABASE_URL", database)
    monkeypatch.setenv("AGENTEXEC_QUEUE_NAME", "of_the_user")
    monkeypatch.setenv("AGENTEXEC_RETRY_BASE_SECONDS", "0.01")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(real.port))
    (tmp_path / ".env").write_text(f"AGENTEXEC_REDIS_URL=redis://127.0.0.1:{real.port}/0\n")
    history = tmp_path / "history"
    history.mkdir()
    opened: list[Any] = []

    def opening(shop: str = SHOP, *, disposable: bool = False) -> OwnRun:
        real_redis = f"redis://127.0.0.1:{real.port}/0"
        (tmp_path / "own_shop.py").write_text(shop.format(real_database=database, real_redis=real_redis))
        (tmp_path / "own_chaos.py").write_text(CHAOS)
        application: Application = importlib.import_module("own_chaos").OWN
        gates = GateKeeper(tmp_path / "gate")
        opened.append(gates)
        settings = TargetSettings(
            queue=f"own-{os.getpid()}-{tmp_path.name}",
            folder=tmp_path,
            history=history,
            gate_address=gates.address,
            workers=2,
            disposable=disposable,
        )
        session = application.open(servers.endpoints, settings)
        opened.append(session)
        return OwnRun(session=session, gates=gates, folder=history)

    with psycopg.connect(servers.endpoints.database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS own_notes")
        connection.execute("CREATE TABLE own_notes (agent_id uuid, what text)")
    yield opening
    for one in reversed(opened):
        one.close()
    for name in ("own_shop", "own_chaos"):
        sys.modules.pop(name, None)


def stop(pool: Any) -> None:
    os.kill(pool.pid, signal.SIGTERM)
    assert pool.wait(20.0) == 0, pool.log()


def ran(history: History, f: str, kind: OperationType) -> list[dict[str, Any]]:
    return [dict(op.value) for op in history.where(f, kind)]


def test_handlers_of_every_kind_run_as_without_the_harness_and_only_on_the_servers_of_the_run(
    start: Callable[..., OwnRun],
    servers: EmbeddedEnvironment,
    real: UserServer,
    eventually: Callable[..., Any],
) -> None:
    run = start()
    pool = run.session.start_pool()
    try:
        numbers = range(1, 7)
        submitted = run.session.submit([TaskSpec(number=n, lock="of-the-workload") for n in numbers])
        activity = {one.number: one.activity for one in submitted}
        assert all(activity.values()), submitted
        eventually(lambda: run.session.unfinished() == 0, deadline=30)
    finally:
        stop(pool)
    history = run.history()
    evidence = list(run.session.witnesses())
    assert real.connections == 0, "the run reached a server of the user"
    begun = ran(history, "run", OperationType.INVOKE)
    assert {one["task"]: one["activity"] for one in begun} == activity
    assert [one["task"] for one in begun if one["attempt"] == 2] == [5]
    assert [one["error"] for one in ran(history, "run", OperationType.FAIL)] == [
        "ValueError: the first attempt fails"
    ]
    assert {one["task"] for one in ran(history, "run", OperationType.OK)} == set(numbers)
    locks = {one["task"]: one["lock"] for one in begun}
    assert (locks[1], locks[2]) == ("order:1", "of-the-workload")
    records = {op.value["task"]: op.value["status"] for op in evidence if op.f == "record"}
    assert records == dict.fromkeys(numbers, "complete")
    children = [op.value for op in evidence if op.f == "child"]
    assert [(one["name"], one["status"]) for one in children] == [("child", "complete")] * 2
    assert len(ran(history, "child", OperationType.OK)) == 2
    with psycopg.connect(servers.endpoints.database_url) as connection:
        notes = connection.execute("SELECT agent_id::text, what FROM own_notes").fetchall()
        messages = connection.execute(
            "SELECT message, percentage FROM agentexec_activity_log WHERE activity_id = %s ORDER BY fence, n",
            (activity[1],),
        ).fetchall()
        result = connection.execute(
            "SELECT result FROM agentexec_activity WHERE id = %s", (activity[3],)
        ).fetchall()
    what = sorted((agent_id, kind) for agent_id, kind in notes if kind != "child")
    expected = {1: "async", 2: "thread", 3: "async", 4: "callable", 5: "flaky"}
    assert what == sorted((activity[n], kind) for n, kind in expected.items())
    assert ("working", 50) in messages
    assert messages[-1] == ("paid", 100)
    assert "order 3" in str(result)


def notes_of(servers: EmbeddedEnvironment) -> int:
    with psycopg.connect(servers.endpoints.database_url) as connection:
        [[count]] = connection.execute("SELECT count(*) FROM own_notes").fetchall()
    return int(count)


@pytest.mark.parametrize("number", [1, 2, 3], ids=["on the loop", "in a thread", "a thread's awaitable"])
def test_a_kill_at_the_gate_falls_between_the_effect_of_a_handler_and_its_acknowledgement(
    start: Callable[..., OwnRun], servers: EmbeddedEnvironment, eventually: Callable[..., Any], number: int
) -> None:
    run = start()
    pool = run.session.start_pool()
    try:
        run.session.submit([TaskSpec(number=number, gate="gate")])
        [arrival] = run.gates.wait_for("gate")
        assert (arrival.task, notes_of(servers)) == (number, 1)
        os.kill(arrival.pid, signal.SIGKILL)
        run.gates.open("gate")
        eventually(lambda: run.session.unfinished() == 0, deadline=30)
    finally:
        stop(pool)
    assert notes_of(servers) == 2
    assert [op.value["attempt"] for op in run.history().where("run", OperationType.OK)] == [2]


def test_a_repeated_idempotency_key_is_refused_since_the_tasks_would_be_one(
    start: Callable[..., OwnRun],
) -> None:
    run = start()
    first, second = run.session.submit([TaskSpec(number=n) for n in (11, 12)])
    assert first.activity is not None
    assert (second.activity, second.certain) == (None, True)
    assert second.error == "task 11 has the same idempotency key"


@pytest.mark.parametrize("number", [21, 22, 23, 24])
def test_a_task_that_agentexec_refuses_is_a_mistake_of_make_and_no_lost_submission(
    start: Callable[..., OwnRun], number: int
) -> None:
    """The run waited until its time-out, and asked for fewer tasks."""
    run = start()
    with pytest.raises(
        TargetFailed, match=rf"^make\({number}\) gives a task that agentexec refuses: InvalidTask"
    ):
        run.session.submit([TaskSpec(number=number)])


def test_a_task_name_that_the_pool_lacks_is_one_sentence(start: Callable[..., OwnRun]) -> None:
    run = start(SHOP.replace('pool.task("thread")', 'pool.task("other")'))
    with pytest.raises(
        TargetFailed, match=r"make\(2\) names the task 'thread', which the pool does not have"
    ):
        run.session.submit([TaskSpec(number=2)])


def test_a_pool_whose_engine_leads_elsewhere_does_not_start(
    start: Callable[..., OwnRun], real: UserServer
) -> None:
    engine = 'pool = ax.Pool(create_engine("{real_database}".replace("postgresql:", "postgresql+psycopg:")))'
    shop = "from sqlalchemy import create_engine\n" + SHOP.replace(
        "pool = ax.Pool(", f"{engine}\nspare = ax.Pool(", 1
    )
    run = start(shop)
    with pytest.raises(TargetFailed, match=r"make the engine from DATABASE_URL of the environment"):
        run.session.start_pool()
    assert real.connections == 0


def test_an_engine_from_the_environment_leads_to_the_run(
    start: Callable[..., OwnRun], real: UserServer, eventually: Callable[..., Any]
) -> None:
    engine = (
        'pool = ax.Pool(create_engine(os.environ["SHOP_DSN"].replace("postgresql:", "postgresql+psycopg:")), '
        'queue_name="own")'
    )
    shop = "from sqlalchemy import create_engine\n" + SHOP.replace(
        "pool = ax.Pool(", f"{engine}\nspare = ax.Pool(", 1
    )
    run = start(shop)
    pool = run.session.start_pool()
    try:
        [submission] = run.session.submit([TaskSpec(number=2)])
        assert submission.activity is not None
        eventually(lambda: run.session.unfinished() == 0, deadline=30)
    finally:
        stop(pool)
    assert real.connections == 0
    assert [op.value["task"] for op in run.history().where("run", OperationType.OK)] == [2]


@pytest.mark.parametrize("disposable", [True, False])
def test_data_of_an_application_is_removed_from_disposable_servers_only(
    start: Callable[..., OwnRun], servers: EmbeddedEnvironment, disposable: bool
) -> None:
    run = start(disposable=disposable)
    made = ("CREATE SCHEMA own_s", "CREATE TABLE own_s.t (id serial)", "CREATE TYPE own_e AS ENUM ('a')")
    with (
        psycopg.connect(servers.endpoints.database_url, autocommit=True) as connection,
        closing(redis.Redis.from_url(servers.endpoints.redis_url)) as client,
    ):
        for statement in (*made, "CREATE VIEW own_v AS SELECT 1 AS one"):
            connection.execute(statement.encode())
        client.set("own-key", "x")
        run.session.close()
        found = connection.execute(
            "SELECT to_regclass('own_s.t'), to_regclass('own_v'), to_regtype('own_e'), to_regnamespace('own_s')"
        ).fetchone()
        assert found is not None
        assert [one is None for one in found] == [disposable] * 4
        assert (client.get("own-key") is None) == disposable
        kept = connection.execute("SELECT to_regclass('own_notes')").fetchone()
        assert kept is not None
        assert kept[0] == "own_notes", "what was there before stays"
        for drop in ("SCHEMA IF EXISTS own_s", "VIEW IF EXISTS own_v", "TYPE IF EXISTS own_e"):
            connection.execute(f"DROP {drop} CASCADE".encode())
        client.delete("own-key")


def test_a_module_that_cannot_be_imported_is_in_the_error(start: Callable[..., OwnRun]) -> None:
    run = start(SHOP + '\nif "AGENTEXEC_WORKER_ID" in os.environ:\n    import no_such_module\n')
    with pytest.raises(TargetFailed, match="no_such_module"):
        run.session.start_pool()


def invariants(run: OwnRun) -> dict[str, Operation]:
    return {op.value["name"]: op for op in run.session.witnesses() if op.f == "invariant"}


def test_each_source_is_read_from_the_servers_of_the_run(
    start: Callable[..., OwnRun], servers: EmbeddedEnvironment
) -> None:
    def add(own: Application) -> None:
        own.invariant("sql", sql="SELECT 'a%', 1")(lambda rows: True)
        own.invariant("write", sql="DELETE FROM own_notes")(lambda rows: True)
        own.invariant("wrong", sql="SELECT * FROM no_such_table")(lambda rows: True)
        own.invariant("redis", redis="HGETALL own-hash")(lambda rows: True)
        own.invariant("client", redis=lambda client: client.llen("own-list"))(lambda rows: True)
        own.invariant("python")(lambda completed: not completed)

    run = start()
    add(sys.modules["own_chaos"].OWN)
    with closing(redis.Redis.from_url(servers.endpoints.redis_url)) as client:
        client.hset("own-hash", "a", "2")
        client.rpush("own-list", "x")
        found = {name: op.value for name, op in invariants(run).items()}
        client.delete("own-hash", "own-list")
    assert found["sql"]["found"] == {"mapping": [["a%", 1]]}
    assert "read-only transaction" in found["write"]["error"]
    assert "no_such_table" in found["wrong"]["error"]
    assert found["redis"]["found"] == {"mapping": [["a", 2]]}
    assert found["client"]["found"] == {"value": 1}
    assert found["python"]["broken"] == []
