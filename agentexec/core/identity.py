"""Process identities, by which a process of the same host recognises that another one has ended."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil


def host_identity() -> str:
    """The boot and the PID namespace of this host; where both are equal, a PID means the same process."""
    return f"{_read('/proc/sys/kernel/random/boot_id') or socket.gethostname()}/{_pid_namespace()}"


def process_identity(pid: int | None = None) -> str:
    """`host|pid|start time` of this process or of `pid`; unique, also if a later process gets the same PID."""
    process = psutil.Process(pid)
    return f"{host_identity()}|{process.pid}|{_started(process)}"


def is_certainly_dead(identity: str) -> bool:
    """Whether the process ran on this host and has ended; False if this process cannot know."""
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
    """The start time of a process; on Linux in ticks since the boot, which no change of the wall clock affects."""
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
