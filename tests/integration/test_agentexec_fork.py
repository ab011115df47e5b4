"""Producers in forked children, as gunicorn --preload and multiprocessing make them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from agentexec.store.models import Activity
from tests.support.pool_process import App

pytestmark = pytest.mark.integration

# What every script below begins with. `in_child` runs a function in a forked child and gives its exit code: 0 for
# success; a child that does not end in time writes where it is.
FORKING = """
import asyncio, faulthandler, os, signal, sys, threading, traceback
import agentexec as ax
from agentexec.producer.client import default_client
from app import Job, pool

def forked(work):
    pid = os.fork()
    if pid:
        return pid
    faulthandler.register(signal.SIGALRM, chain=True)  # a fork while its watchdog waits would hang
    signal.alarm(20)
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)

def all_ended(*pids):
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(codes), codes

def enqueue(*numbers):
    return asyncio.run(ax.enqueue_many([ax.TaskRequest(task_name="work", context=Job(number=n)) for n in numbers]))

def enqueue_sync(*numbers):
    return [default_client().enqueue_sync("work", Job(number=n)) for n in numbers]
"""


def numbers(app: App, source: str) -> list[int]:
    """Run a script that ends well; returns the numbers of all tasks that are in the record and in the queue."""
    done = app.script(FORKING + source)
    assert done.returncode == 0, done.stderr
    with app.client.engine.connect() as connection:
        query = select(Activity.context).where(Activity.queue_name == app.queue_name)
        rows = [context["number"] for context in connection.execute(query).scalars()]
    assert app.client.queue.depth().ready == len(rows), "every task is in the queue too"
    return sorted(rows)


@pytest.mark.parametrize("first", ["enqueue", "enqueue_sync"])
@pytest.mark.parametrize("second", ["enqueue", "enqueue_sync"])
def test_parent_and_children_enqueue_at_the_same_time(app: App, first: str, second: str) -> None:
    found = numbers(
        app,
        f"""
{first}(0)
children = [forked(lambda n=n: [{second}(100 * n + i) for i in range(20)]) for n in (1, 2, 3)]
for i in range(1, 20):
    {first}(i)
all_ended(*children)
{first}(20)
""",
    )
    assert found == [*range(21), *range(100, 120), *range(200, 220), *range(300, 320)]


def test_a_grandchild_enqueues_and_its_parents_go_on(app: App) -> None:
    found = numbers(
        app,
        """
enqueue(0)
def child():
    enqueue(1)
    all_ended(forked(lambda: enqueue(2)))
    enqueue(3)
all_ended(forked(child))
enqueue(4)
""",
    )
    assert found == [0, 1, 2, 3, 4]


def test_a_fork_in_the_middle_of_enqueues_of_other_threads(app: App) -> None:
    """Whatever lock these threads hold at that moment."""
    found = numbers(
        app,
        """
stop = threading.Event()
def busy(number):
    while not stop.is_set():
        enqueue_sync(-number)
threads = [threading.Thread(target=busy, args=(n,), daemon=True) for n in (1, 2, 3)]
for thread in threads:
    thread.start()
for n in range(30):
    all_ended(forked(lambda: enqueue_sync(n)))
stop.set()
for thread in threads:
    thread.join()
""",
    )
    assert [n for n in found if n >= 0] == list(range(30))


@pytest.mark.parametrize("moment", ["first connect", "default client", "batch", "redis pool", "counters"])
def test_a_fork_while_another_thread_holds_a_lock(app: App, moment: str) -> None:
    found = numbers(
        app,
        """
from sqlalchemy import event
from agentexec.core.counters import COUNTERS
import agentexec.producer.client as module

there, go = threading.Event(), threading.Event()
def hold(*_):
    there.set()
    go.wait(30)

def factory():
    hold()
    return ax.Client(settings=pool.settings)

moment = MOMENT
if moment == "first connect":
    event.listen(default_client()._recording, "connect", hold)
    work = lambda: enqueue_sync(1)
elif moment == "default client":
    module._factory = factory
    work = lambda: enqueue_sync(1)
elif moment == "batch":
    enqueue_sync(1)
    work = lambda: default_client()._enqueuer._thread._changed.__enter__() and hold()
elif moment == "redis pool":
    enqueue_sync(1)
    lock = default_client().redis.connection_pool._lock
    work = lambda: lock.acquire() and (hold(), lock.release())
else:
    enqueue_sync(1)
    work = lambda: COUNTERS._lock.acquire() and (hold(), COUNTERS._lock.release())
thread = threading.Thread(target=work, daemon=True)
thread.start()
there.wait()
def child():
    go.set()
    enqueue_sync(2)
all_ended(forked(child))
go.set()
thread.join()
""".replace("MOMENT", repr(moment)),
    )
    assert found == [1, 2]


def test_health_and_the_asyncio_client_work_in_a_child(app: App) -> None:
    """A child never waits for a check whose thread it does not have."""
    numbers(
        app,
        """
from agentexec.core.redis_client import get_redis
from agentexec.ops.health import Checks
checks = Checks.of(pool.settings)
asked = threading.Event()
checks._redis_problem._call = lambda: (asked.set(), threading.Event().wait(1))
assert checks.report().database is None
checks.redis.ping()
def backend():
    with checks.engine.connect() as connection:
        return connection.connection.dbapi_connection.info.backend_pid
before = backend()
def child():
    assert backend() != before, "a connection of the parent"
    checks._redis_problem._call = checks._ask_redis
    assert checks.report().ready, checks.report()
loop = asyncio.new_event_loop()
async def ping():
    return await (await get_redis()).ping()
assert loop.run_until_complete(ping())
checks._redis_problem.ask()
all_ended(forked(child), forked(lambda: asyncio.run(ping())))
assert loop.run_until_complete(ping())
assert backend() == before
""",
    )


def test_the_end_of_a_child_leaves_the_connections_of_its_parent_open(app: App) -> None:
    """Also of a child that ends as a program does, with all of its objects deleted."""
    numbers(
        app,
        """
import gc
from agentexec.core.redis_client import get_redis
loop = asyncio.new_event_loop()
async def ping():
    return await (await get_redis()).ping()
def backend():
    with default_client().engine.connect() as connection:
        return connection.connection.dbapi_connection.info.backend_pid
loop.run_until_complete(ax.enqueue("work", Job(number=1)))
loop.run_until_complete(ping())
before = backend()
for _ in range(3):
    pid = os.fork()
    if not pid:
        gc.collect()
        sys.exit(0)
    all_ended(pid)
    assert loop.run_until_complete(ping())
    loop.run_until_complete(ax.enqueue("work", Job(number=2)))
    assert backend() == before
""",
    )
