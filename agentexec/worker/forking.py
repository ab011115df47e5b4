"""The life of a fork server (`agentexec.core.fork_server`), and of a worker until it has its options."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
from typing import NoReturn

import psycopg  # noqa: F401 - the workers need it
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401 - the same

from agentexec.worker.process import end_with
from agentexec.worker.protocol import ENDED, PID
from agentexec.worker.signals import handled, nothing

# A signal to the process group is for the pool and its workers.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD)


def serve(socket_fd: int) -> NoReturn:
    """Fork a worker for each message on the socket, and report their ends, until the pool closes it or ends."""
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
                message, descriptors, _, _ = socket.recv_fds(pool, 1, 3)
                if not message:
                    os._exit(0)
                _fork(*descriptors, statuses, (pool, woken, waker))


def _fork(
    commands: int, options: int, status: int, statuses: dict[int, int], own: tuple[socket.socket, ...]
) -> None:
    try:
        pid = os.fork()
    except OSError:
        logging.getLogger(__name__).exception("the system refuses to start a worker")
        os.close(status)
    else:
        if not pid:
            for descriptor in (*(one.detach() for one in own), *statuses.values()):
                os.close(descriptor)
            _live(commands, options, status)
        statuses[pid] = status
        _write(status, b"%s%d\n" % (PID, pid))
    os.close(commands)
    os.close(options)


def _live(commands: int, options: int, status: int) -> NoReturn:
    """In the child: be the worker that the options describe."""
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
        _write(status, b"\n%s%d\n" % (ENDED, os.waitstatus_to_exitcode(how)))
        os.close(status)


def _write(status: int, line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the pool is gone
        os.write(status, line)
