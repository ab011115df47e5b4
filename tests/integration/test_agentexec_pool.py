"""A real pool on real servers: what it guarantees when processes die, freeze or stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from uuid import UUID

import psutil
import pytest

from agentexec.worker.protocol import WorkerSpec
from agentexec.worker.reference import PoolReference
from tests.conftest import Eventually
from tests.support.pool_process import App, Begun, PoolProcess
from tests.support.record import require_sound, rows_of

pytestmark = pytest.mark.integration

MANY = 2_000  # tasks that a server is lost under
LATER = 30.0  # seconds; a lease of 60 s would not have ended by then


def workers_are_up(app: App, count: int = 2) -> Callable[[], bool]:
    return lambda: len(app.client.queue.registered()) == count


def begun(app: App, eventually: Eventually, number: int, attempt: int = 1) -> Begun:
    """Wait until this attempt has certainly begun."""
    said = eventually(lambda: app.begun(number, attempt), deadline=LATER)
    assert said is not None
    return said


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def sound(app: App, tasks: list[UUID]) -> None:
    for row in rows_of(app.client.engine, tasks).values():
        require_sound(row)


def test_what_was_enqueued_completes_and_its_result_comes_back(app: App) -> None:
    app.pool()
    answer = app.script(
        """
import asyncio
import agentexec as ax
from app import Job, pool

async def main():
    tasks = await ax.enqueue_many([ax.TaskRequest(task_name=name, context=Job(number=n))
                                   for n, name in enumerate(["work", "block", "thread"])])
    print(await ax.gather(*tasks, timeout=30))
    failed = await ax.enqueue("fail", Job(number=9))
    try:
        await ax.get_result(failed, timeout=30)
    except ax.TaskFailedError as error:
        print(error.status, error.attempts, error.error)

asyncio.run(main())
"""
    )
    results = ", ".join(f"Done(number={n}, attempt=1)" for n in range(3))
    assert answer.stdout.splitlines() == [f"({results})", "error 4 ValueError: as asked"], answer.stderr


def test_a_worker_killed_in_the_middle_of_a_task_is_replaced_and_the_task_runs_again(
    app: App, eventually: Eventually
) -> None:
    app.pool()
    (task,) = app.enqueue(1, hold=[1])
    first = begun(app, eventually, 1)
    os.kill(first.pid, signal.SIGKILL)
    second = begun(app, eventually, 1, attempt=2)
    assert second.pid != first.pid
    assert second.fence > first.fence
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    row = app.row(task)
    assert (row.attempt, row.fence, row.result) == (2, second.fence, {"number": 1, "attempt": 2})
    # The end of a task is recorded before the queue forgets it.
    eventually(lambda: app.client.queue.depth().known == 0)
    sound(app, [task])


def test_another_pool_takes_over_a_killed_pool_before_its_leases_expire(
    app: App, eventually: Eventually
) -> None:
    pool = app.pool()
    tasks = app.enqueue(*range(6), hold=[1])
    eventually(lambda: all(app.begun(n) for n in range(6)), deadline=LATER)
    pool.kill_all()
    app.pool()
    eventually(lambda: app.all_complete(tasks), deadline=LATER)
    assert {app.row(task).attempt for task in tasks} == {2}
    sound(app, tasks)


@pytest.mark.parametrize("name", ["work", "thread", "block"])
def test_a_parent_killed_alone_leaves_no_orphan(app: App, eventually: Eventually, name: str) -> None:
    """Also where the handler blocks the event loop of its worker."""
    pool = app.pool()
    (task,) = app.enqueue(1, name=name, hold=[1])
    begun(app, eventually, 1)
    workers = [worker.pid for worker in pool.workers]
    pool.process.kill()
    pool.wait()
    eventually(lambda: all(gone(pid) for pid in workers), deadline=15)
    app.pool()
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    assert app.row(task).attempt == 2


def test_a_running_task_is_canceled_long_before_its_lease_is_renewed(
    app: App, eventually: Eventually
) -> None:
    """A renewal comes every 20 s; the handler is asked within half a second."""
    app.pool(num_workers=1, worker_concurrency=1)
    (task,) = app.enqueue(1, hold=[1])
    begun(app, eventually, 1)
    app.client.cancel([task])
    eventually(lambda: app.statuses([task]) == ["canceled"], deadline=5)
    assert app.has_ended(1)


def test_a_pool_of_another_installation_does_not_start_on_this_queue(
    app: App, eventually: Eventually
) -> None:
    app.pool()
    eventually(workers_are_up(app))
    other = app.pool(forked=False, table_prefix="other_")
    assert other.wait() == 78
    assert "serves another activity store" in other.log
    assert "AGENTEXEC_QUEUE_NAME" in other.log
    assert "Traceback" not in other.log


def test_sigterm_lets_running_tasks_finish_and_leaves_queued_ones_queued(
    app: App, eventually: Eventually
) -> None:
    pool = app.pool(num_workers=1, worker_concurrency=1)
    running, queued = app.enqueue(1, 2, hold=[1])
    begun(app, eventually, 1)
    pool.signal(signal.SIGTERM)
    eventually(lambda: "stopping" in pool.log)
    app.let_go(1)
    assert pool.wait() == 0
    assert app.statuses([running, queued]) == ["complete", "queued"]
    assert app.begun(2) is None
    depth = app.client.queue.depth()
    assert (depth.ready, depth.leased, depth.known) == (1, 0, 1)
    assert app.client.queue.registered() == {}


@pytest.mark.parametrize("name", ["work", "thread"])
def test_past_the_graceful_time_out_tasks_are_released_uncharged(
    app: App, eventually: Eventually, name: str
) -> None:
    pool = app.pool(graceful_shutdown_timeout=0.3)
    (task,) = app.enqueue(1, name=name, hold=[1])
    begun(app, eventually, 1)
    pool.signal(signal.SIGTERM)
    assert pool.wait() == 0, pool.log
    released = app.row(task)
    assert (released.status, released.attempt) == ("queued", 1)
    assert app.client.queue.client.hgetall(app.client.queue.keys.crash) == {}
    app.pool()
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    assert app.row(task).attempt == 2
    sound(app, [task])


@pytest.mark.parametrize("command", ["drain", "now"])
def test_a_worker_that_is_stopped_during_its_start_claims_nothing(app: App, command: str) -> None:
    app.enqueue(1)
    status_read, status_write = os.pipe()
    commands_read, commands_write = os.pipe()
    os.write(commands_write, f"{command}\n".encode())
    options = asdict(WorkerSpec(name="late", slot=0, reference=PoolReference.parse("app:pool")))
    options |= {
        "sys_path": [str(app.folder), *sys.path],
        "commands_fd": commands_read,
        "status_fd": status_write,
    }
    code = (
        "import json, sys; from agentexec.worker.process import end_with; end_with(json.loads(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(options)],
        cwd=app.folder,
        env=app.environment(),
        pass_fds=[commands_read, status_write],
        timeout=60,
    )
    for descriptor in (status_read, status_write, commands_read, commands_write):
        os.close(descriptor)
    assert done.returncode == 0
    assert app.begun(1) is None
    queue = app.client.queue
    assert queue.client.get(queue.keys.fence) is None, "a fencing token was given"
    assert queue.depth().ready == 1


def test_a_second_sigterm_ends_the_pool_at_once(app: App, eventually: Eventually) -> None:
    pool = app.pool(graceful_shutdown_timeout=600)
    (task,) = app.enqueue(1, hold=[1])
    begun(app, eventually, 1)
    pool.signal(signal.SIGTERM)
    eventually(lambda: "stopping" in pool.log)

    def heard_again() -> bool:
        if "at once" not in pool.log:
            pool.signal(signal.SIGTERM)  # one that follows the first within half a second counts as the same
        return "at once" in pool.log

    eventually(heard_again, every=0.3)
    assert pool.wait() == 0, pool.log
    assert app.row(task).status == "queued"


def test_workers_that_cannot_import_the_application_restart_with_growing_pauses(
    app: App, eventually: Eventually
) -> None:
    pool = app.pool(broken=True, num_workers=1)
    eventually(lambda: "2 time(s)" in pool.log, deadline=LATER)
    assert "RuntimeError: no such luck" in pool.log
    assert "worker slot 0 died before it was ready, 1 time(s); next try in 0.5 s" in pool.log
    assert "2 time(s); next try in 1.0 s" in pool.log
    pool.signal(signal.SIGTERM)
    assert pool.wait() in (0, 1)


def test_a_worker_frozen_past_its_lease_is_refused_when_it_wakes_up(app: App, eventually: Eventually) -> None:
    app.pool(lease_seconds=1)
    (task,) = app.enqueue(1, hold=[1, 2])
    first = begun(app, eventually, 1)
    os.kill(first.pid, signal.SIGSTOP)
    second = begun(app, eventually, 1, attempt=2)
    assert second.fence > first.fence
    app.let_go(1)
    os.kill(first.pid, signal.SIGCONT)
    eventually(lambda: app.has_ended(1), deadline=LATER)
    assert app.row(task).status == "running"
    app.let_go(1, attempt=2)
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    assert app.row(task).result == {"number": 1, "attempt": 2}
    sound(app, [task])


def test_what_enqueue_has_returned_survives_its_producer(app: App, eventually: Eventually) -> None:
    answer = app.script(
        """
import asyncio, os, signal
import agentexec as ax
from app import Job, pool

async def main():
    task = await ax.enqueue("work", Job(number=1))
    os.write(1, str(task.agent_id).encode())
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    )
    assert answer.returncode == -signal.SIGKILL, answer.stderr
    task = UUID(answer.stdout)
    assert app.row(task).status == "queued"
    app.pool()
    eventually(lambda: app.all_complete([task]), deadline=LATER)


@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_a_server_that_is_killed_and_comes_back_loses_no_task(
    app: App, eventually: Eventually, service: str
) -> None:
    app.pool(reconcile_seconds=1, lease_seconds=2)
    tasks = app.enqueue(*range(100))
    held = app.enqueue(500, 501, hold=[1])
    eventually(lambda: app.begun(500) and app.begun(501), deadline=LATER)
    app.servers.kill("redis" if service == "redis" else "postgres")
    app.let_go(500)
    app.servers.restart("redis" if service == "redis" else "postgres")
    app.let_go(501)
    eventually(lambda: app.all_complete([*tasks, *held]), deadline=60)
    sound(app, [*tasks, *held])


def test_redis_losing_everything_in_the_middle_of_the_work_loses_no_task(
    app: App, eventually: Eventually
) -> None:
    """With the usual 30 s between two thorough comparisons: a queue without memory is noticed at once."""
    app.pool()
    held = app.enqueue(5000, 5001, hold=[1])
    begun(app, eventually, 5001)
    tasks = app.enqueue(*range(MANY))
    begun(app, eventually, 0)
    assert app.client.queue.depth().ready > 0, "the loss has to come in the middle of the work"
    app.client.redis.flushall()
    late = app.enqueue(*range(6000, 6020))
    app.let_go(5000)
    app.let_go(5001)
    eventually(lambda: app.all_complete([*tasks, *held, *late]), deadline=60)
    eventually(lambda: app.client.queue.depth().known == 0, deadline=20)
    sound(app, [*tasks, *held, *late])


@pytest.mark.parametrize("keeps_its_log", [True, False])
def test_redis_killed_in_the_middle_of_the_work_loses_no_task(
    app: App, eventually: Eventually, keeps_its_log: bool
) -> None:
    """Its log is synced once a second, so the end of it may be gone. Where it kept none lately, it comes back with a
    memory of before the work. The pool sees that it started again, and does not wait for a comparison.
    """
    assert app.client.redis.config_get("appendfsync") == {"appendfsync": "everysec"}
    app.pool(reconcile_seconds=600)
    held = app.enqueue(5000, 5001, hold=[1])
    begun(app, eventually, 5001)
    if not keeps_its_log:
        app.client.redis.config_set("appendonly", "no")
    tasks = app.enqueue(*range(MANY))
    begun(app, eventually, 0)
    assert app.client.queue.depth().ready > 0, "the kill has to come in the middle of the work"
    app.servers.kill("redis")
    app.let_go(5000)
    app.servers.restart("redis")
    app.let_go(5001)
    eventually(lambda: app.all_complete([*tasks, *held]), deadline=90)
    eventually(lambda: app.client.queue.depth().known == 0, deadline=20)
    sound(app, [*tasks, *held])


def test_a_canceled_task_stops_within_a_third_of_its_lease(app: App, eventually: Eventually) -> None:
    app.pool(lease_seconds=3)
    running, _ = app.enqueue(1, 2, hold=[1])
    begun(app, eventually, 1)
    app.client.cancel([running])
    eventually(lambda: app.row(running).status == "canceled", deadline=10)
    sound(app, [running])


def test_the_names_of_a_pool_process_hold_no_secret(app: App, eventually: Eventually) -> None:
    """Every user of a machine can read the arguments of a process."""
    pool: PoolProcess = app.pool(forked=False)
    eventually(workers_are_up(app), deadline=LATER)
    lines = [" ".join(process.cmdline()) for process in [psutil.Process(pool.process.pid), *pool.workers]]
    secret = app.servers.endpoints.database_url.split(":")[2].split("@")[0]
    assert len(lines) == 3
    assert not any(secret in line for line in lines)
    assert secret not in pool.log


def test_a_pool_that_is_set_otherwise_than_its_neighbour_warns(app: App, eventually: Eventually) -> None:
    app.pool(max_crashes=5)
    eventually(workers_are_up(app), deadline=LATER)
    other = app.pool(max_crashes=0)
    eventually(workers_are_up(app, 4), deadline=LATER)
    assert other.log.count("AGENTEXEC_MAX_CRASHES is 0 here and 5 there") == 1


def test_a_pool_on_a_redis_that_evicts_keys_warns(app: App, eventually: Eventually) -> None:
    app.client.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        pool = app.pool()
        eventually(workers_are_up(app), deadline=LATER)
    finally:
        app.client.redis.config_set("maxmemory-policy", "noeviction")
    assert pool.log.count("maxmemory-policy allkeys-lru") == 1
