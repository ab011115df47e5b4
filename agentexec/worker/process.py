"""One worker process: an event loop for the handlers, and threads for everything that must not wait for them.

main thread          the event loop of the handlers
agentexec-loop       claims, records, finishes (agentexec.worker.loop)
agentexec-renewer    extends leases, so that a handler that blocks the event loop does not lose its own
agentexec-waiter     listens for new tasks while there are free slots
agentexec-watchdog   ends the process if a handler exceeds its hard time limit, and when it is to be recycled
agentexec-commands   reads the commands of the parent; the end of this pipe is the end of the parent
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import IO, Any, NoReturn

import redis

from agentexec.config import LONGEST_SERVER_TIMEOUT
from agentexec.context import current
from agentexec.core import runtime
from agentexec.core.counters import Reporter
from agentexec.core.db import engine_for
from agentexec.core.redis_client import WAIT_SECONDS, blocking_client, renewing_client
from agentexec.errors import AgentexecError, ConfigurationError, WorkerGone
from agentexec.masking import masked
from agentexec.ops.logs import LastingProblem, set_up
from agentexec.queue.protocol import Queue, Tokens
from agentexec.queue.redis_queue import RedisQueue
from agentexec.text import enumerated, summary
from agentexec.worker.loading import ImportFailed, load_pool
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.pool import Pool, running_is_forbidden
from agentexec.worker.protocol import ENDED, LEAVING, PID, READY, REFUSED, ExitCode, StopCommand
from agentexec.worker.recycling import RecyclePolicy
from agentexec.worker.reference import PoolReference
from agentexec.worker.run_result import RunKind
from agentexec.worker.signals import handled, nothing

NAME = "agentexec-worker"  # of its connections
WATCH_EVERY = 0.25  # seconds
CANCEL_GRACE = 1.0  # seconds that a canceled handler has to end before its lease is released
ORPHAN_GRACE = 5.0  # seconds that a worker without a parent has to release its leases and end by itself

# What a fork server ignores. A signal to the process group is for the pool and its workers.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD)

_logger = logging.getLogger(__name__)


class Worker:
    """The life of one worker process, from registration to the last flush."""

    def __init__(self, worker_loop: WorkerLoop, *, renewing: Queue, notify: Callable[[bytes], None]) -> None:
        """`renewing` is the same queue through a connection with short time-outs, to notice a frozen Redis in time.

        `notify` sends READY and LEAVING to the parent.
        """
        self._settings = worker_loop.settings
        self._renewing = renewing
        self._event_loop = worker_loop.event_loop
        self._notify = notify
        self._worker_loop = worker_loop
        self._runner = worker_loop.runner
        self._finished: asyncio.Future[int] = self._event_loop.create_future()
        self._stopping = False
        self._leaving = False  # as it is recycled
        self._code = 0
        self._recycle = RecyclePolicy(worker_loop.settings)

    def run(self, commands: IO[str]) -> int:
        """Work until drained; returns the exit code. `commands` is the pipe of the parent."""
        actions = {
            signal.SIGTERM: self._drain,
            signal.SIGHUP: self._drain,
            # A key of the terminal signals the whole process group; the parent decides what it means.
            signal.SIGINT: nothing,
            signal.SIGQUIT: nothing,
        }
        with handled(actions, self._event_loop.add_signal_handler):
            if select.select([commands], [], [], 0)[0]:  # stopped during its start: it must claim nothing
                self._command(commands.readline())
            finished = self.start(commands)
            while True:
                try:
                    return self._event_loop.run_until_complete(finished)
                except (SystemExit, KeyboardInterrupt) as error:
                    # asyncio ends its loop for these, also where a task that a handler started raises one.
                    _logger.error("%s out of a task of a handler; this worker works on", type(error).__name__)

    def start(self, commands: Iterable[str]) -> asyncio.Future[int]:
        """Register, notify the parent, and start all threads; the future gives the exit code."""
        self._worker_loop.queue.register(self._worker_loop.worker, runtime.current().identity())
        self._notify(READY)
        for role, target in (
            ("loop", self._work),
            ("renewer", self._renew),
            ("waiter", self._wait),
            ("watchdog", self._watch),
            ("commands", partial(self._obey, commands)),
        ):
            runtime.current().spawn(partial(_vital, target), name=f"agentexec-{role}")
        return self._finished

    def _work(self) -> None:
        try:
            self._worker_loop.run()
            code = self._code
        except WorkerGone as error:
            _logger.error("%s; this process ends and its pool starts another", error)
            code = ExitCode.GONE
        except Exception:  # the pool must see this process end, to release its leases and start another
            _logger.exception("the worker's I/O failed")
            code = ExitCode.FAILED
        if code not in (0, ExitCode.RECYCLED):  # do not wait for a handler that blocks the event loop
            runtime.current().end_process(code)
        self._event_loop.call_soon_threadsafe(self._finished.set_result, code)

    def _watch(self) -> None:
        """Enforce hard time limits and recycling, also while a handler blocks the event loop."""
        while True:
            runtime.current().sleep(WATCH_EVERY)
            overdue = self._runner.overdue()
            if overdue:
                self._code = ExitCode.OVERDUE
                self._worker_loop.end_all(overdue)  # first: a log that cannot be written must not prevent it
                _logger.error("%d task(s) exceeded their time limit; this process ends", len(overdue))
                return
            over = self._recycle.is_over(self._worker_loop.finished, self._runner.threads_left_behind)
            if over and not (self._stopping or self._leaving):
                self._code = ExitCode.RECYCLED
                self._leaving = True
                self._notify(LEAVING)
                # Without a time-out until the pool itself stops: another worker has its slot while its tasks end.
                self._worker_loop.drain()

    def _renew(self) -> None:
        """Extend leases every third of their length; stop the handlers if that fails for a whole lease.

        Leases that wait for a silent Postgres are released instead: another worker may reach it.
        """
        lease, system, queue = self._settings.lease_seconds, runtime.current(), self._renewing
        renewed, pause = system.monotonic(), lease / 3
        problem = LastingProblem(_logger, "leases are renewed again")
        while True:
            system.sleep(pause)
            tokens = self._worker_loop.leases.tokens()
            began = system.monotonic()
            try:
                lost, canceled = queue.renew(self._worker_loop.worker, tokens) if tokens else (set(), set())
                renewed, pause = began, lease / 3
                kinds = dict.fromkeys(canceled, RunKind.CANCELED) | dict.fromkeys(lost, RunKind.LOST)
                self._runner.stop(kinds)
                leases = self._worker_loop.leases
                unbegun = {i: tokens[i] for i in lost - self._runner.running() if (i, tokens[i]) in leases}
                self._give_up(unbegun)
                queue.register(self._worker_loop.worker, system.identity())  # again: Redis may have lost it
                self._release_unanswered()
                problem.seen(None)
            except redis.RedisError as error:
                pause = lease / 12
                problem.seen(f"leases could not be renewed ({type(error).__name__}); trying again")
                if system.monotonic() - renewed > lease:
                    self._runner.stop(dict.fromkeys(tokens, RunKind.LOST))

    def _release_unanswered(self) -> None:
        leases = self._worker_loop.leases_without_answer()
        if not leases:
            return
        _logger.warning("Postgres is silent; giving up %d lease(s) that wait for it", len(leases))
        self._renewing.release(self._worker_loop.worker, leases)
        self._give_up(leases)

    def _give_up(self, leases: Tokens) -> None:
        """Let no handler begin under these leases, whose starts may wait for a silent Postgres."""
        for task_id, token in leases.items():
            self._worker_loop.leases.remove(task_id, token)
        self._runner.stop(dict.fromkeys(leases, RunKind.LOST))  # those that begin just now

    def _wait(self) -> None:
        while True:
            self._worker_loop.idle.wait()
            try:
                self._worker_loop.queue.wait(min(WAIT_SECONDS, max(0.001, self._worker_loop.next_look)))
            except redis.RedisError:
                runtime.current().sleep(WAIT_SECONDS / 4)  # the worker loop's own step logs the error
            self._worker_loop.idle.clear()  # before the step that says how long to listen next
            self._worker_loop.wake()

    def _obey(self, commands: Iterable[str]) -> None:
        for line in commands:
            self._event_loop.call_soon_threadsafe(self._command, line)
        # The parent is gone: it cannot kill a worker whose handler blocks the event loop.
        self._event_loop.call_soon_threadsafe(self._stop_now)
        runtime.current().sleep(ORPHAN_GRACE)
        runtime.current().end_process(ExitCode.FAILED)

    def _command(self, line: str) -> None:
        if line.strip() == StopCommand.DRAIN:
            self._drain()
        else:
            self._stop_now()

    def _drain(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._worker_loop.drain()
            self._event_loop.call_later(self._settings.graceful_shutdown_timeout, self._stop_now)

    def _stop_now(self) -> None:
        self._stopping = True
        self._worker_loop.drain()
        self._runner.stop(dict.fromkeys(self._worker_loop.leases.tokens(), RunKind.RELEASED))
        self._event_loop.call_later(CANCEL_GRACE, self._worker_loop.release_all)
        self._event_loop.call_later(2 * CANCEL_GRACE, self._worker_loop.abandon)


def _vital(work: Callable[[], None]) -> None:
    """Run a thread that the worker needs: if it fails, the process ends, and the pool starts another."""
    try:
        work()
    except Exception:  # noqa: BLE001 - it is logged, and the process ends
        try:
            _logger.exception("a thread of the worker failed; the process ends")
        finally:
            runtime.current().end_process(ExitCode.FAILED)


def main(options: Mapping[str, Any]) -> int:
    """Run a worker process; returns its exit code. `Child` makes the options, the fork server adds two pipes."""
    sys.argv[:] = options.get("argv", sys.argv)
    sys.path[:] = options["sys_path"]
    commands = os.fdopen(options["commands_fd"], encoding="ascii")
    for pipe in (commands.fileno(), options["status_fd"]):
        os.set_inheritable(pipe, False)  # no program that a handler starts may keep it open
    os.register_at_fork(after_in_child=partial(_leave_to_parent, commands.fileno(), options["status_fd"]))
    with contextlib.closing(Reporter(options["status_fd"])) as reporter, running_is_forbidden():
        try:
            worker = _worker(_load(options), options["name"], reporter)
            gc.freeze()  # collections need not visit what was imported: it lives as long as the process
            return worker.run(commands)
        except ImportFailed as error:
            set_up(None, in_worker=True)
            _logger.error("a worker cannot import its pool", exc_info=error.__cause__)
            code, reason = ExitCode.BROKEN, str(error)
        except ConfigurationError as error:
            code, reason = ExitCode.MISCONFIGURED, str(error)
        except redis.RedisError as error:
            code, reason = ExitCode.FAILED, f"Redis does not do as asked ({summary(error)})."
        reporter.send(REFUSED + json.dumps(masked(reason)).encode() + b"\n")
        return code


def end_with(options: Mapping[str, Any]) -> NoReturn:
    """`main` as the whole life of a process, which waits for no handler's thread at its end."""
    code: int = ExitCode.FAILED
    try:
        code = main(options)
    except BaseException:
        _logger.exception("the worker failed")
    finally:
        runtime.current().end_process(code)


def _load(options: Mapping[str, Any]) -> Pool:
    pool = load_pool(PoolReference(**options["reference"]))
    pool.override(options["settings"])
    set_up(pool.settings.log_format, level=pool.settings.log_level, in_worker=True)
    missing = sorted(set(options["expected_tasks"]) - set(pool.registry))
    if missing:
        raise ConfigurationError(
            f"A worker does not know the task(s) {enumerated(missing)} that its pool does; register them where "
            'their module is imported, outside of `if __name__ == "__main__":`.'
        )
    return pool


def _worker(pool: Pool, name: str, reporter: Reporter) -> Worker:
    settings = pool.settings
    wait = max(settings.database_timeout, min(settings.lease_seconds, LONGEST_SERVER_TIMEOUT))
    worker_loop = WorkerLoop(
        worker=name,
        queue=RedisQueue.of(blocking_client(settings, name=NAME), settings),
        engine=engine_for(
            pool.database, pool_size=1, test_connections=False, name=NAME, timeout=wait, own=True
        ),
        settings=settings,
        registry=pool.registry,
        event_loop=asyncio.new_event_loop(),
        report=reporter.report if settings.metrics_port else lambda: None,
    )
    renewing = RedisQueue.of(renewing_client(settings), settings)
    return Worker(worker_loop, renewing=renewing, notify=reporter.send)


def _leave_to_parent(*pipes: int) -> None:
    """In a child that a handler forked: let go of the worker's pipes and of its task."""
    null = os.open(os.devnull, os.O_RDWR)
    for pipe in pipes:
        os.dup2(null, pipe, inheritable=False)
    os.close(null)
    task = current.get(None)
    if task is not None:
        current.set(replace(task, _report=_refuse_to_report))


def _refuse_to_report(_message: str, _percentage: int | None) -> None:
    raise AgentexecError(
        "A forked child has no connection to its worker; send progress to the handler, which can report it."
    )


def serve(socket_fd: int) -> NoReturn:
    """Fork a worker for each message on the socket, and report their ends, until the pool closes it or ends.

    Raises OSError if the system refuses to start a process; the pool tries again with another server.
    """
    gc.freeze()  # a collection in a worker would copy the memory of what is imported here
    pool = socket.socket(fileno=socket_fd)
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    statuses: dict[int, int] = {}
    with handled(dict.fromkeys(_IGNORED, nothing)):
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([pool, woken], [], [])
            if woken in ready:
                woken.recv(4096)
                _report_ends(statuses)
            if pool in ready:
                message, pipes, _, _ = socket.recv_fds(pool, 1, 3)
                if not message:
                    os._exit(0)
                _fork(pipes, statuses, (pool, woken, waker))


def _fork(pipes: list[int], statuses: dict[int, int], own: tuple[socket.socket, ...]) -> None:
    commands, options, status = pipes
    if pid := os.fork():
        statuses[pid] = status
        with contextlib.suppress(BrokenPipeError):  # the pool is gone
            os.write(status, b"%s%d\n" % (PID, pid))
        os.close(commands)
        os.close(options)
        return
    for descriptor in (*(one.detach() for one in own), *statuses.values()):
        os.close(descriptor)
    signal.signal(signal.SIGINT, lambda *_: None)  # the parent decides what a key of the terminal means
    with os.fdopen(options, "rb") as pipe:
        given = json.load(pipe)
    gc.enable()
    os.environ["AGENTEXEC_WORKER_ID"] = given["name"]
    end_with({**given, "commands_fd": commands, "status_fd": status})


def _report_ends(statuses: dict[int, int]) -> None:
    while statuses:
        pid, how = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        status = statuses.pop(pid)
        os.set_blocking(status, True)  # the worker may have filled the pipe, and ended within a line
        with contextlib.suppress(BrokenPipeError):
            os.write(status, b"\n%s%d\n" % (ENDED, os.waitstatus_to_exitcode(how)))
        os.close(status)
