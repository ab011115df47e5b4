"""A small application in its own folder, and its pools as operating system processes.

Handlers and tests synchronize through files: a handler creates one when it begins, and waits while another exists.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
from pydantic import BaseModel

from agentexec.config import Settings, load_settings
from agentexec.core.db import create_schema
from agentexec.producer.client import Client
from agentexec.task import TaskRequest
from harness.environments.embedded import EmbeddedEnvironment
from harness.processes import is_alive, send
from harness.targets.agentexec_target import IMPORTS
from harness.targets.programs import ForkedProgram, fork_server
from tests.conftest import Eventually
from tests.support.environment import child_environment
from tests.support.record import Row, row_of, rows_of

APP = '''
import asyncio
import os
import signal
import time
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax

FOLDER = Path(os.environ["APP_FOLDER"])
if os.environ.get("APP_BROKEN_IN_WORKERS") and "AGENTEXEC_WORKER_ID" in os.environ:
    raise RuntimeError("no such luck")

pool = ax.Pool()


class Job(BaseModel):
    number: int


class Done(BaseModel):
    number: int
    attempt: int


def begin(number):
    task = ax.current_task()
    said = FOLDER / f"begun-{number}-{task.attempt}"
    said.with_suffix(".part").write_text(f"{os.getpid()} {task.fence}")
    said.with_suffix(".part").rename(said)
    return task.attempt, FOLDER / f"hold-{number}-{task.attempt}"


@pool.task("work")
async def work(agent_id: UUID, context: Job) -> Done:
    attempt, hold = begin(context.number)
    try:
        while hold.exists():
            await asyncio.sleep(0.02)
    finally:
        (FOLDER / f"ended-{context.number}-{attempt}").touch()
    return Done(number=context.number, attempt=attempt)


@pool.task("block")
async def block(agent_id: UUID, context: Job) -> Done:
    """It starves the event loop of its worker."""
    attempt, hold = begin(context.number)
    while hold.exists():
        time.sleep(0.02)
    return Done(number=context.number, attempt=attempt)


@pool.task("thread")
def thread(agent_id: UUID, context: Job) -> Done:
    attempt, hold = begin(context.number)
    while hold.exists():
        time.sleep(0.02)
    return Done(number=context.number, attempt=attempt)


async def die(agent_id: UUID, context: Job) -> None:
    """It ends its worker process."""
    attempt, hold = begin(context.number)
    while hold.exists():
        await asyncio.sleep(0.02)
    if context.number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)


pool.add_task("die", die)
pool.add_task("die-locked", die, lock_key="one")
pool.add_task("work-locked", work, lock_key="one")


@pool.task("fail")
async def fail(agent_id: UUID, context: Job) -> None:
    begin(context.number)
    raise ValueError("as asked")
'''


class Job(BaseModel):
    """The context of every handler of the application."""

    number: int


@dataclass(frozen=True)
class Begun:
    """What a handler wrote when it began."""

    pid: int
    fence: int


def workers_of(pool: int) -> list[psutil.Process]:
    """The living worker processes of a pool: the children of its fork server."""
    return [worker for server in psutil.Process(pool).children() for worker in server.children()]


@contextmanager
def pool_forks(folder: Path) -> Iterator[str]:
    """The address of a fork server for pools, which has imported what takes each of them a second of a processor."""
    with fork_server(folder / "forks", IMPORTS) as address:
        yield address


class PoolProcess:
    """One running pool: the parent is a child of ours, or of a fork server."""

    def __init__(self, process: subprocess.Popen[bytes] | ForkedProgram, log: Path) -> None:
        self.process = process
        self.path = log

    @property
    def pid(self) -> int:
        """The process id of the parent."""
        return self.process.pid

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes that live now."""
        return workers_of(self.pid)

    @property
    def log(self) -> str:
        """All that parent and workers wrote."""
        return self.path.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent alone."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code of the parent; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(0)
        return None

    def wait(self, within: float = 20) -> int:
        """The exit code of the parent; TimeoutExpired where it does not end."""
        return self.process.wait(within)

    def kill_all(self) -> None:
        """SIGKILL to parent and workers at once."""
        workers = [worker.pid for worker in self.workers] if self.poll() is None else []
        self.process.kill()
        send(workers, signal.SIGKILL)
        self.process.wait(10)
        # Not until they are reaped: some init processes look for that once a second.
        Eventually()(lambda: not any(map(is_alive, workers)))


def start_pool(
    pool: str, *, environment: Mapping[str, str], folder: Path, log: Path, forks: str | None
) -> PoolProcess:
    """`agentexec worker`; a fork of the server at `forks`, unless that is None."""
    process: subprocess.Popen[bytes] | ForkedProgram
    with log.open("wb") as output, Path(os.devnull).open("rb") as nothing:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        if forks is None:
            command = [sys.executable, "-m", "agentexec", "worker", pool]
            process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=nothing, stdout=output, stderr=output
            )
        else:
            command = [sys.executable, "-m", "harness.targets.forked_worker", pool]
            process = ForkedProgram(forks, command, environment=environment, folder=folder, streams=streams)
    return PoolProcess(process, log)


class App:
    """The application, its queue, and everything that was started for it."""

    def __init__(self, servers: EmbeddedEnvironment, folder: Path, forks: str | None = None) -> None:
        """`forks` is the address of `pool_forks`."""
        self._forks = forks
        self.servers = servers
        self.folder = folder
        self.queue_name = f"app-{uuid4().hex}"
        (folder / "app.py").write_text(APP)
        self.settings: Settings = load_settings(
            database_url=servers.endpoints.database_url,
            redis_url=servers.endpoints.redis_url,
            queue_name=self.queue_name,
        )
        self.client = Client(settings=self.settings)
        create_schema(self.client.engine)
        self.environment_changes: dict[
            str, str
        ] = {}  # variables that its processes get in place of the usual ones
        self._pools: list[PoolProcess] = []

    def environment(self, **settings: object) -> dict[str, str]:
        """The variables that a process of the application runs with."""
        named = {f"AGENTEXEC_{name.upper()}": str(value) for name, value in settings.items()}
        return child_environment(
            self.servers.endpoints.database_url,
            self.servers.endpoints.redis_url,
            self.queue_name,
            **{
                "AGENTEXEC_NUM_WORKERS": "2",
                "AGENTEXEC_LEASE_SECONDS": "60",
                "AGENTEXEC_RETRY_BASE_SECONDS": "0.05",
                "APP_FOLDER": str(self.folder),
                **named,
            },
        )

    def pool(
        self, *, broken: bool = False, module: str = "app", forked: bool = True, **settings: object
    ) -> PoolProcess:
        """Start the pool of a module; settings are those of agentexec without their prefix.

        It is a fork if there is a fork server, unless it is not to be `forked`: that server has read no settings, and
        all forks have its command line.
        """
        environment = self.environment(**settings) | self.environment_changes
        environment |= {"APP_BROKEN_IN_WORKERS": "1"} if broken else {}
        started = start_pool(
            f"{module}:pool",
            environment=environment,
            folder=self.folder,
            log=self._next_log(),
            forks=self._forks if forked else None,
        )
        self._pools.append(started)
        return started

    def run(self, *arguments: str, program: Sequence[str] = (sys.executable,), **options: Any) -> PoolProcess:
        """Start a pool by the arguments of an interpreter; `options` are those of `Popen`."""
        path = self._next_log()
        with path.open("wb") as log:
            defaults: dict[str, Any] = {
                "cwd": self.folder,
                "env": self.environment(),
                "stdout": log,
                "stderr": log,
            }
            process = subprocess.Popen([*program, *arguments], **defaults | options)
        pool = PoolProcess(process, path)
        self._pools.append(pool)
        return pool

    def script(self, source: str) -> subprocess.CompletedProcess[str]:
        """Run a producer as a separate process."""
        return subprocess.run(
            [sys.executable, "-c", source],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def enqueue(self, *numbers: int, name: str = "work", hold: Sequence[int] = ()) -> list[UUID]:
        """Enqueue one task per number; their attempts named in `hold` wait until they are let go."""
        for number in numbers:
            for attempt in hold:
                self._hold(number, attempt).touch()
        requests = [TaskRequest(task_name=name, context=Job(number=number)) for number in numbers]
        return [task.agent_id for task in self.client.enqueue_many_sync(requests)]

    def let_go(self, number: int, attempt: int = 1) -> None:
        """Let a waiting attempt return."""
        self._hold(number, attempt).unlink()

    def begun(self, number: int, attempt: int = 1) -> Begun | None:
        """What the handler wrote when this attempt began; None before."""
        path = self.folder / f"begun-{number}-{attempt}"
        if not path.exists():
            return None
        pid, fence = path.read_text().split()
        return Begun(int(pid), int(fence))

    def has_ended(self, number: int, attempt: int = 1) -> bool:
        """Whether the handler of this attempt has returned or was canceled."""
        return (self.folder / f"ended-{number}-{attempt}").exists()

    def row(self, task: UUID) -> Row:
        """The row of a task."""
        return row_of(self.client.engine, task)

    def statuses(self, tasks: Sequence[UUID]) -> list[str]:
        """Where tasks stand, in the order given."""
        rows = rows_of(self.client.engine, tasks)
        return [rows[task].status for task in tasks]

    def all_complete(self, tasks: Sequence[UUID]) -> bool:
        """Whether every task has completed."""
        return set(self.statuses(tasks)) == {"complete"}

    def close(self) -> None:
        """Kill what still runs and let go of the servers."""
        for pool in self._pools:
            pool.kill_all()
        self.client.queue.drop()
        self.client.close()

    def _next_log(self) -> Path:
        return self.folder / f"pool-{len(self._pools)}.log"

    def _hold(self, number: int, attempt: int) -> Path:
        return self.folder / f"hold-{number}-{attempt}"
