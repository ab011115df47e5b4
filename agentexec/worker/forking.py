"""The life of a fork server (`agentexec.core.fork_server`), and of a worker until it has its options."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Collection
from typing import NoReturn

import psycopg  # noqa: F401
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401 - for the workers; so is the driver

from agentexec.worker.process import end_with
from agentexec.worker.protocol import ENDED, PID, REFUSED, ExitCode
from agentexec.worker.signals import handled, nothing


def serve(socket_fd: int) -> NoReturn:
    """Fork a worker for each message on the socket, and report their ends, until the pool has closed it."""
    gc.freeze()  # a collection in a worker would copy the pages of what is imported here
    pool = socket.socket(fileno=socket_fd)
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    statuses: dict[int, int] = {}
    # A signal to the process group is for the pool and its workers.
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD)
    with handled(dict.fromkeys(ignored, nothing)):
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([pool, woken], [], [])
            if woken in ready:
                woken.recv(4096)
                _report_ends(statuses)
            if pool in ready:
                message, descriptors, _, _ = socket.recv_fds(pool, 1, 3)
                if not message:
                    os._exit(0)
                _fork(*descriptors, statuses, (pool, woken, wakes))


def _fork(
    commands: int, status: int, options: int, statuses: dict[int, int], own: Collection[socket.socket]
) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        reason = json.dumps(f"The system refuses to start a process ({error}).").encode()
        _write(status, b"%s%s\n%s%d\n" % (REFUSED, reason, ENDED, ExitCode.FAILED))
        os.close(status)
    else:
        if not pid:
            for one in own:
                one.close()
            for descriptor in statuses.values():
                os.close(descriptor)
            _live(commands, status, options)
        statuses[pid] = status
        _write(status, b"%s%d\n" % (PID, pid))
    os.close(commands)
    os.close(options)


def _live(commands: int, status: int, options: int) -> NoReturn:
    """In the child: be the worker that the options describe."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the parent decides what a key of the terminal means
    os.dup2(commands, 0)
    os.close(commands)
    with os.fdopen(options, "rb") as pipe:
        given = json.load(pipe)
    os.environ.clear()
    os.environ.update(given["environment"])
    time.tzset()
    with contextlib.suppress(OSError):  # it is removed, or may not be entered
        os.chdir(given["folder"])
    gc.enable()
    end_with({**given, "status_fd": status})


def _report_ends(statuses: dict[int, int]) -> None:
    while statuses:
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        status = statuses.pop(pid)
        # The worker may have filled the pipe, or may have ended within a line.
        os.set_blocking(status, True)
        _write(status, b"\n%s%d\n" % (ENDED, os.waitstatus_to_exitcode(wait_status)))
        os.close(status)


def _write(status: int, line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the pool is gone
        os.write(status, line)
