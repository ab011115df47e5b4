"""Pools whose standard output and error are closed, or have lost their reader, or have one that never reads."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Eventually
from tests.support.pool_process import App, PoolProcess

pytestmark = pytest.mark.integration

LATER = 40.0  # seconds
NOISY = '''
import sys, time
from uuid import UUID
import agentexec as ax
from app import Done, FOLDER, Job, begin, pool


@pool.task("limited", time_limit=0.5)
async def limited(agent_id: UUID, context: Job) -> Done:
    attempt, hold = begin(context.number)
    if attempt == 1:
        time.sleep(600)
    return Done(number=context.number, attempt=attempt)


@pool.task("prints", time_limit=0.5)
async def prints(agent_id: UUID, context: Job) -> Done:
    """Until its pipe is full, and then it blocks."""
    attempt, hold = begin(context.number)
    while attempt == 1:
        print("x" * 10_000, flush=True)
    return Done(number=context.number, attempt=attempt)


@pool.task("closes", time_limit=0.5)
async def closes(agent_id: UUID, context: Job) -> Done:
    attempt, hold = begin(context.number)
    if attempt == 1:
        sys.stdout.close()
        sys.stderr.close()
        time.sleep(600)
    return Done(number=context.number, attempt=attempt)


if __name__ == "__main__":
    pool.run()
'''
COMMANDS = {"command": ("-m", "agentexec", "worker", "noisy:pool"), "script": ("noisy.py",)}
CLOSING = 'exec "$@" <&- >&- 2>&-'


@contextmanager
def quiet_pool(app: App, state: str, how: str, **settings: object) -> Iterator[PoolProcess]:
    """A pool with standard streams in this state."""
    (app.folder / "noisy.py").write_text(NOISY)
    environment, command = app.environment(num_workers=1, **settings), COMMANDS[how]
    if state == "closed":
        yield app.run(*command, program=["sh", "-c", CLOSING, "sh", sys.executable], env=environment)
        return
    read, write = os.pipe()
    pool = app.run(*command, stdout=write, stderr=write, env=environment)
    os.close(write)
    if state == "broken":
        os.close(read)
    try:
        yield pool
    finally:
        if state == "unread":
            os.close(read)


def up(app: App, count: int = 1) -> Callable[[], bool]:
    return lambda: len(app.client.queue.registered()) == count


STATES = pytest.mark.parametrize("state", ["closed", "broken", "unread"])


@STATES
@pytest.mark.parametrize("how", COMMANDS)
def test_a_hard_time_limit_a_failure_and_sigterm_need_no_stream(
    app: App, eventually: Eventually, state: str, how: str
) -> None:
    with quiet_pool(app, state, how) as pool:
        (over,) = app.enqueue(1, name="limited")
        (failing,) = app.enqueue(2, name="fail")
        eventually(lambda: app.all_complete([over]), deadline=LATER)
        eventually(lambda: app.row(failing).status == "error", deadline=LATER)
        assert app.row(over).attempt == 2
        (later,) = app.enqueue(3)
        eventually(lambda: app.all_complete([later]), deadline=LATER)
        pool.signal(signal.SIGTERM)
        assert pool.wait(LATER) == 0


@STATES
def test_recycling_needs_no_stream(app: App, eventually: Eventually, state: str) -> None:
    with quiet_pool(app, state, "command", max_tasks_per_worker=1) as pool:
        for number in range(3):
            task = app.enqueue(number)
            eventually(partial(app.all_complete, task), deadline=LATER)
        pool.signal(signal.SIGTERM)
        assert pool.wait(LATER) == 0


@pytest.mark.parametrize("name", ["prints", "closes"])
def test_a_handler_that_blocks_or_closes_the_streams_is_ended_by_its_limit(
    app: App, eventually: Eventually, name: str
) -> None:
    with quiet_pool(app, "unread", "command") as pool:
        (task,) = app.enqueue(1, name=name)
        eventually(lambda: app.all_complete([task]), deadline=LATER)
        pool.signal(signal.SIGTERM)
        assert pool.wait(LATER) in (0, 1)  # a worker that cannot end its output is killed


def test_no_descriptor_of_a_closed_stream_becomes_a_connection(app: App, eventually: Eventually) -> None:
    """A handler that prints would write into it."""
    with quiet_pool(app, "closed", "command") as pool:
        eventually(up(app), deadline=LATER)
        for process in (pool.process.pid, *(worker.pid for worker in pool.workers)):
            targets = {number: str(Path(f"/proc/{process}/fd/{number}").readlink()) for number in (1, 2)}
            assert targets == dict.fromkeys((1, 2), os.devnull)


@pytest.mark.parametrize("arguments", [["config"], ["--version"], ["dlq", "list"]])
def test_commands_need_no_standard_output(app: App, arguments: list[str]) -> None:
    pool = app.run("-m", "agentexec", *arguments, program=["sh", "-c", 'exec "$@" >&-', "sh", sys.executable])
    assert pool.wait(LATER) == 0, pool.log
    assert "Traceback" not in pool.log
