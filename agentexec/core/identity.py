"""Who a worker is, so that a neighbour on the same host can see that its process is gone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil


def host_identity() -> str:
    """This boot of this host, and this process namespace of it: process ids mean the same wherever it is
    equal.
    """
    return f"{_read('/proc/sys/kernel/random/boot_id') or socket.gethostname()}/{_pid_namespace()}"


def process_identity(pid: int | None = None) -> str:
    """`host|pid|start time`: no later process has the same, even if it gets the same pid."""
    pid = os.getpid() if pid is None else pid
    return f"{host_identity()}|{pid}|{_started(psutil.Process(pid))}"


def is_certainly_dead(identity: str) -> bool:
    """Whether that process ran on this host and is gone. False whenever that cannot be known from here."""
    host, _, rest = identity.partition("|")
    pid, _, started = rest.partition("|")
    if host != host_identity() or not pid.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        return _started(process) != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _started(process: psutil.Process) -> str:
    """When a process began: on Linux in ticks since the boot, since a wall clock that is set would let everybody
    look like somebody else.
    """
    stat = _read(f"/proc/{process.pid}/stat")
    return f"{process.create_time():.2f}" if stat is None else stat.rpartition(")")[2].split()[19]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("ascii", errors="replace").strip()
    except OSError:
        return None


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"
