"""Signals to a pool, to its process group, and to what its handlers start."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable

import psutil
import pytest

from tests.conftest import Eventually
from tests.support.pool_process import App, PoolProcess

pytestmark = pytest.mark.integration

LATER = 40.0  # seconds
TOOLS = '''
import asyncio, json, multiprocessing, os, signal, subprocess, sys, time
from uuid import UUID
import agentexec as ax
from app import Done, FOLDER, Job, begin, pool

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE]
ASK = "import json, signal; print(json.dumps([signal.getsignal(s) is signal.SIG_IGN for s in %r]" \\
      " + [len(signal.pthread_sigmask(signal.SIG_BLOCK, []))]))" % ([int(s) for s in SIGNALS],)


def nap(say):
    say.send("up")
    time.sleep(600)


def ends(number):
    """The exit code of a forked child that the signal ends; of one that is signaled before it says anything, too."""
    context = multiprocessing.get_context("fork")
    codes = []
    for wait in (True, False, True):
        here, there = context.Pipe()
        child = context.Process(target=nap, args=(there,))
        child.start()
        if wait:
            here.recv()
        os.kill(child.pid, number)
        child.join(20)
        codes.append(child.exitcode)
        if child.exitcode is None:
            child.kill()
    return codes


@pool.task("forks")
async def forks(agent_id: UUID, context: Job) -> None:
    """A child forked by a handler obeys signals, and its worker does not hear of them."""
    answer = await asyncio.to_thread(ends, context.number)
    (FOLDER / "codes").write_text(json.dumps(answer))


@pool.task("forks_here")
async def forks_here(agent_id: UUID, context: Job) -> None:
    (FOLDER / "codes").write_text(json.dumps(ends(context.number)))


@pool.task("dispositions")
async def dispositions(agent_id: UUID, context: Job) -> None:
    """What a program inherits that a handler starts in each of the usual ways."""
    out = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True).stdout
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", ASK, stdout=subprocess.PIPE)
    third = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, preexec_fn=os.setpgrp).stdout
    (FOLDER / "codes").write_text(json.dumps([out, (await other.communicate())[0].decode(), third]))


@pool.task("reports")
async def reports(agent_id: UUID, context: Job) -> None:
    def work(say):
        try:
            ax.current_task().report("from the child", 5)
        except ax.AgentexecError as error:
            say.send(str(error))
    multi = multiprocessing.get_context("fork")
    here, there = multi.Pipe()
    child = multi.Process(target=work, args=(there,))
    child.start()
    (FOLDER / "codes").write_text(json.dumps(here.recv()))
    child.join()


@pool.task("stubborn")
async def stubborn(agent_id: UUID, context: Job) -> None:
    begin(context.number)
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        (FOLDER / "canceled").touch()
        raise
'''


def tools(app: App, **settings: object) -> PoolProcess:
    (app.folder / "tools.py").write_text(TOOLS)
    return app.run("-m", "agentexec", "worker", "tools:pool", env=app.environment(**settings))


def workers_are_up(app: App, count: int) -> Callable[[], bool]:
    return lambda: len(app.client.queue.registered()) == count


def codes(app: App, eventually: Eventually, name: str, number: int = 1) -> object:
    app.enqueue(number, name=name)
    path = app.folder / "codes"
    eventually(lambda: path.exists() and path.read_text(), deadline=LATER)
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["forks", "forks_here"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_forked_child_of_a_handler_obeys_a_signal_and_its_worker_goes_on(
    app: App, eventually: Eventually, number: int, name: str
) -> None:
    pool = tools(app, num_workers=1)
    eventually(workers_are_up(app, 1), deadline=LATER)
    (worker,) = pool.workers
    assert codes(app, eventually, name, number) == [-number] * 3
    (task,) = app.enqueue(7)
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    assert [found.pid for found in pool.workers] == [worker.pid], pool.log
    assert "stopping" not in pool.log


@pytest.mark.parametrize("launcher", [(), ("nohup",)])
def test_programs_that_a_handler_starts_have_the_default_signals(
    app: App, eventually: Eventually, launcher: tuple[str, ...]
) -> None:
    (app.folder / "tools.py").write_text(TOOLS)
    app.run("-m", "agentexec", "worker", "tools:pool", program=[*launcher, sys.executable])
    answers = codes(app, eventually, "dispositions")
    assert isinstance(answers, list)
    hung_up = bool(launcher)  # who starts a pool under nohup wants it for everything
    # SIGPIPE: Python itself ignores it.
    assert [json.loads(answer) for answer in answers] == [[False, False, hung_up, False, True, 0]] * 3


def test_a_forked_child_is_told_that_it_cannot_report(app: App, eventually: Eventually) -> None:
    tools(app, num_workers=1)
    assert "send progress to the handler" in str(codes(app, eventually, "reports"))


@pytest.mark.parametrize("event", ["hangup", "group"])
@pytest.mark.parametrize("moment", ["starting", "running"])
def test_sighup_and_a_signal_to_the_group_drain(
    app: App, eventually: Eventually, event: str, moment: str
) -> None:
    (task,) = app.enqueue(1, hold=[1])
    pool = app.run(
        "-m", "agentexec", "worker", "app:pool", env=app.environment(num_workers=4), process_group=0
    )
    if moment == "starting":
        eventually(lambda: len(pool.workers) == 4, deadline=LATER, every=0.001)
    else:
        eventually(lambda: app.begun(1), deadline=LATER)
        eventually(workers_are_up(app, 4), deadline=LATER)
    os.killpg(pool.process.pid, signal.SIGTERM if event == "group" else signal.SIGHUP)
    eventually(lambda: "stopping" in pool.log, deadline=LATER)
    app.let_go(1)
    assert pool.wait(40) == 0, pool.log
    assert "Traceback" not in pool.log
    assert app.statuses([task]) == ["complete" if moment == "running" else app.row(task).status]
    assert app.client.queue.registered() == {}


def test_a_hangup_that_the_pool_was_started_to_ignore_is_ignored(app: App, eventually: Eventually) -> None:
    pool = app.run("-m", "agentexec", "worker", "app:pool", program=["nohup", sys.executable])
    eventually(workers_are_up(app, 2), deadline=LATER)
    for process in [psutil.Process(pool.process.pid), *pool.workers]:
        process.send_signal(signal.SIGHUP)
    (task,) = app.enqueue(1)
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    assert "stopping" not in pool.log
    pool.signal(signal.SIGTERM)
    assert pool.wait() == 0


def test_sigquit_stops_at_once_and_releases_the_tasks(app: App, eventually: Eventually) -> None:
    pool = app.run(
        "-m",
        "agentexec",
        "worker",
        "app:pool",
        env=app.environment(graceful_shutdown_timeout=600),
        process_group=0,
    )
    (task,) = app.enqueue(1, hold=[1])
    eventually(lambda: app.begun(1), deadline=LATER)
    os.killpg(pool.process.pid, signal.SIGQUIT)
    assert pool.wait() == 0, pool.log
    assert (app.row(task).status, app.row(task).attempt) == ("queued", 1)


def test_a_pool_that_is_started_with_signals_blocked_obeys_them(app: App, eventually: Eventually) -> None:
    start = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); "
        "os.execv(sys.executable, sys.argv[1:])"
    )
    pool = app.run("-c", start, sys.executable, "-m", "agentexec", "worker", "app:pool")
    eventually(workers_are_up(app, 2), deadline=LATER)
    for worker in pool.workers:
        worker.terminate()
    eventually(lambda: "ended with code 0" in pool.log, deadline=LATER)
    pool.signal(signal.SIGTERM)
    assert pool.wait() == 0


def test_a_recycled_worker_obeys_the_graceful_time_out(app: App, eventually: Eventually) -> None:
    """Its handler is canceled and released like every other one, in time before its parent would kill it."""
    pool = tools(
        app, num_workers=1, worker_concurrency=2, max_tasks_per_worker=1, graceful_shutdown_timeout=0.3
    )
    (task,) = app.enqueue(1, name="stubborn")
    eventually(lambda: app.begun(1), deadline=LATER)
    app.enqueue(2)
    eventually(lambda: "is recycled" in pool.log, deadline=LATER)
    eventually(workers_are_up(app, 2), deadline=LATER)
    pool.signal(signal.SIGTERM)
    assert pool.wait(40) == 0, pool.log
    assert (app.folder / "canceled").exists()
    assert "killing" not in pool.log
    assert app.row(task).status == "queued"


def test_a_fork_in_the_pool_itself_obeys_a_signal(app: App, eventually: Eventually) -> None:
    (app.folder / "script.py").write_text(
        """
import multiprocessing, os, signal, threading, time
from app import FOLDER, pool

def helper():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.05)
    child.start()
    child.terminate()
    child.join(20)
    (FOLDER / "code").write_text(str(child.exitcode))
    child.kill()

if __name__ == "__main__":
    threading.Thread(target=helper, daemon=True).start()
    pool.run()
"""
    )
    pool = app.run("script.py")
    code = app.folder / "code"
    eventually(lambda: code.exists() and code.read_text(), deadline=LATER)
    assert code.read_text() == str(-signal.SIGTERM)
    (task,) = app.enqueue(1)
    eventually(lambda: app.all_complete([task]), deadline=LATER)
    assert pool.poll() is None
