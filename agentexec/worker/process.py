"""One worker process: an event loop for the handlers, and threads for everything that must not wait for them.

main thread   the handlers' event loop
engine        claims, records, finishes (agentexec.worker.loop)
renewer       prolongs leases, so that a handler that blocks the loop does not lose its own
waiter        listens for new work while there are free slots
watchdog      ends the process under handlers past their hard time limit, and when it is to be recycled
lifeline      reads the parent's orders; the end of its pipe is the end of the parent
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Self

import redis
from sqlalchemy import Engine

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.core.db import engine_for
from agentexec.core.redis_client import WAIT_SECONDS, blocking_client, renewing_client
from agentexec.counters import Reporter
from agentexec.errors import AgentexecError, WorkerGone
from agentexec.ops.logs import set_up_worker
from agentexec.queue.protocol import Queue
from agentexec.queue.redis_queue import RedisQueue
from agentexec.task import Registry
from agentexec.worker.loading import load_pool
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.process_codes import EXIT_FAILED, EXIT_GONE, EXIT_OVERDUE, EXIT_RECYCLED
from agentexec.worker.protocol import DRAIN, LEAVING, READY
from agentexec.worker.recycling import RecyclePolicy
from agentexec.worker.reference import PoolReference
from agentexec.worker.runner import End, Ended, HandlerRunner

WATCH_EVERY = 0.25  # seconds
CANCEL_GRACE = (
    1.0  # seconds that a canceled handler has to end before its lease is given away without its consent
)
ORPHAN_GRACE = 5.0  # seconds that a worker without a parent has to give its leases back and end by itself

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """A worker's ways to its servers. The renewer has one of its own, with short time-outs: a Redis that is frozen has
    to be noticed within the lease.
    """

    queue: Queue
    renewing: Queue
    database: Engine

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Connect lazily to the servers of the settings."""
        return cls(
            queue=RedisQueue(blocking_client(settings), settings.queue_name),
            renewing=RedisQueue(renewing_client(settings), settings.queue_name),
            database=engine_for(settings.require_database_url(), pool_size=1, test_connections=False),
        )


class Worker:
    """The life of one worker process, from registration to the last flush."""

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        registry: Registry,
        links: Connections,
        loop: asyncio.AbstractEventLoop,
        ready: Callable[[], None],
        leaving: Callable[[], None],
        report: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._name = name
        self._ready = ready
        self._loop = loop
        self._host = HandlerRunner(registry, self._settings, self._loop)
        self._queue = links.queue
        self._renewing = links.renewing
        self._engine = WorkerLoop(
            worker=name,
            queue=links.queue,
            database=links.database,
            settings=self._settings,
            host=self._host,
            registry=registry,
            report=report,
        )
        self._host.connect(self._engine)
        self._finished: asyncio.Future[int] = self._loop.create_future()
        self._stopping = False
        self._code = 0
        self._leaving = leaving
        self._life = RecyclePolicy(self._settings)

    def run(self, orders: IO[str]) -> int:
        """Work until drained; returns the exit code. `orders` is the parent's pipe."""
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches the whole group; the parent decides what it means
        self._loop.add_signal_handler(signal.SIGTERM, self._drain)
        return self._loop.run_until_complete(self.start(orders))

    def start(self, orders: Iterable[str]) -> asyncio.Future[int]:
        """Register, say that we are ready, and start all threads; the future gives the exit code. Each of `orders` is
        one of the parent's, and their end is the end of the parent.
        """
        spawn = runtime.current().spawn
        self._queue.register(self._name, runtime.current().identity())
        self._ready()
        for role, target in (
            ("engine", self._work),
            ("renewer", self._renew),
            ("waiter", self._wait),
            ("watchdog", self._watch),
        ):
            spawn(partial(_vital, target), name=f"agentexec-{role}")
        spawn(partial(_vital, partial(self._obey, orders)), name="agentexec-lifeline")
        return self._finished

    def _work(self) -> None:
        try:
            self._engine.run()
            code = self._code
        except WorkerGone as error:
            _logger.error("%s; this process ends and its pool starts another", error)
            code = EXIT_GONE
        except (
            Exception
        ):  # the pool must see this process end, whatever it was: it releases our leases and starts another
            _logger.exception("the worker's I/O failed")
            code = EXIT_FAILED
        if code not in (
            0,
            EXIT_RECYCLED,
        ):  # nothing on the loop can be recorded any more, and it may be blocked
            runtime.current().end_process(code)
        self._loop.call_soon_threadsafe(self._finish, code)

    def _watch(self) -> None:
        """Look after what a blocked event loop cannot: hard time limits, and the life of the process itself."""
        while True:
            runtime.current().sleep(WATCH_EVERY)
            overdue = self._host.overdue()
            if overdue:
                _logger.error(
                    "%d task(s) outlived their time limit; this process ends under them", len(overdue)
                )
                self._code = EXIT_OVERDUE
                self._engine.give_up_all(overdue)
                return
            if not self._stopping and self._life.is_over(self._engine.finished):
                self._code = EXIT_RECYCLED
                self._stopping = True
                self._leaving()
                self._engine.drain()  # with no time-out: another worker has its place while its tasks end

    def _finish(self, code: int) -> None:
        if not self._finished.done():
            self._finished.set_result(code)

    def _renew(self) -> None:
        """Prolong leases every third of their length; past the local margin without success, stop what they
        protected.
        """
        lease, world, queue = self._settings.lease_seconds, runtime.current(), self._renewing
        renewed, wait = world.monotonic(), lease / 3
        while True:
            world.sleep(wait)
            tokens = self._engine.ledger.tokens()
            began = world.monotonic()
            try:
                lost, canceled = queue.renew(self._name, tokens, lease=lease) if tokens else (set(), set())
                renewed, wait = began, lease / 3
                self._host.stop(dict.fromkeys(lost, End.LOST) | dict.fromkeys(canceled - lost, End.CANCELED))
                queue.register(self._name, world.identity())  # again: Redis may have forgotten it
            except redis.RedisError as error:
                wait = lease / 12
                _logger.warning("leases could not be renewed (%s)", type(error).__name__)
                if world.monotonic() - renewed > lease:
                    self._host.stop(dict.fromkeys(tokens, End.LOST))

    def _wait(self) -> None:
        while True:
            self._engine.idle.wait()
            self._engine.idle.clear()
            try:
                self._queue.wait(min(WAIT_SECONDS, max(0.001, self._engine.next_look)))
            except redis.RedisError:
                runtime.current().sleep(WAIT_SECONDS / 4)  # the engine's own STEP says what is wrong
            self._engine.poke()

    def _obey(self, orders: Iterable[str]) -> None:
        for line in orders:
            order = self._drain if line.strip() == DRAIN else self._stop_now
            self._loop.call_soon_threadsafe(order)
        self._loop.call_soon_threadsafe(self._stop_now)  # the parent is gone
        runtime.current().sleep(
            ORPHAN_GRACE
        )  # and with it whoever kills a worker whose handler blocks the event loop
        runtime.current().end_process(EXIT_FAILED)

    def _drain(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._engine.drain()
            self._loop.call_later(self._settings.graceful_shutdown_timeout, self._stop_now)

    def _stop_now(self) -> None:
        self._stopping = True
        self._engine.drain()
        self._host.stop(dict.fromkeys(self._engine.ledger.tokens(), End.RELEASED))
        self._loop.call_later(CANCEL_GRACE, self._release_stubborn)
        self._loop.call_later(2 * CANCEL_GRACE, self._engine.abandon)

    def _release_stubborn(self) -> None:
        for task_id, token in self._engine.ledger.tokens().items():
            self._engine.ended(Ended(task_id=task_id, token=token, end=End.RELEASED))


def _vital(work: Callable[[], None]) -> None:
    """Run a thread that the worker cannot do without: if it fails, the process ends, and the pool starts another."""
    try:
        work()
    except Exception:
        _logger.exception("a thread of the worker failed; the process ends")
        runtime.current().end_process(EXIT_FAILED)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of a worker process; its standard input is the parent's pipe."""
    parser = argparse.ArgumentParser(prog="agentexec-worker")
    parser.add_argument("--pool", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--sys-path", required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--expect", required=True)
    options = parser.parse_args(argv)
    sys.path[:] = json.loads(options.sys_path)
    orders = _private_stdin()
    try:
        pool = load_pool(PoolReference.from_json(options.pool))
        set_up_worker(pool.settings.log_format)
        missing = sorted(set(json.loads(options.expect)) - set(pool.registry))
        if missing:
            raise AgentexecError(
                f"The worker does not know the task(s) {', '.join(missing)} that its pool does; "
                "register them when their module is imported."
            )
        with _reporter(options.status_fd) as reporter:
            worker = Worker(
                name=options.name,
                settings=pool.settings,
                registry=pool.registry,
                links=Connections.of(pool.settings),
                loop=asyncio.new_event_loop(),
                ready=lambda: reporter.send(READY),
                leaving=lambda: reporter.send(LEAVING),
                report=reporter.report if pool.settings.metrics_port else lambda: None,
            )
            return worker.run(orders)
    except AgentexecError as error:
        print(f"agentexec: {error}", file=sys.stderr)
        return EXIT_FAILED


def _private_stdin() -> IO[str]:
    """Keep the parent's pipe to ourselves: a handler, or a program it starts, must not read our orders."""
    orders = os.fdopen(os.dup(0), encoding="ascii")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return orders


@contextlib.contextmanager
def _reporter(fd: int) -> Iterator[Reporter]:
    """The pipe to the parent; what is left is handed over at the end."""
    os.set_inheritable(fd, False)  # no program that a handler starts shall keep the pipe open
    reporter = Reporter(fd)
    try:
        yield reporter
    finally:
        reporter.close()
