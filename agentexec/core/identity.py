"""Process identities, by which a process of the same host recognises that another one has ended.

A wrong "dead" makes a living pool lose its leases, so each doubt means "cannot know"; then the leases expire instead.
"""

from __future__ import annotations

import os
import socket
import uuid
from importlib import import_module
from pathlib import Path

ZOMBIE = "zombie"
NAMESPACES = ("pid", "time")  # PIDs have a meaning in the first, start times in the second


def host_identity() -> str:
    """The boot, the name and the namespaces of this host; where all are equal, a PID means the same process."""
    # Copies of a virtual machine share the boot, and hosts without /proc may share the name.
    boot = _read("/proc/sys/kernel/random/boot_id") or f"{uuid.getnode():x}"
    return "/".join([boot, socket.gethostname().replace("|", ""), *map(_namespace, NAMESPACES)])


def process_identity(pid: int | None = None) -> str:
    """`host|pid|start time` of this process or of `pid`; unique, also if a later process gets the same PID."""
    pid = pid or os.getpid()
    return f"{host_identity()}|{pid}|{_started(pid) or ''}"


def is_certainly_dead(identity: str) -> bool:
    """Whether the process ran on this host and has ended; False if this process cannot know."""
    host, _, rest = identity.partition("|")
    pid, _, started = rest.partition("|")
    if host != host_identity() or not pid.isdecimal() or not started:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # a process of another user
    # /proc may hide the processes of other users (hidepid), so its silence means nothing.
    now = _started(int(pid))
    return now is not None and now != started


def _started(pid: int) -> str | None:
    """The start time of a process, `ZOMBIE` if it has ended, None if it cannot be known.

    On Linux it is in ticks since the boot, which no change of the wall clock affects.
    """
    if os.uname().sysname == "Linux":
        stat = _stat(pid)
        return None if stat is None else ZOMBIE if stat[0] == "Z" else stat[19]
    psutil = import_module("psutil")  # only here, since it takes long
    try:
        process = psutil.Process(pid)
        return ZOMBIE if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _stat(pid: int) -> list[str] | None:
    """The fields of a process in /proc after its name; None if it is hidden, or /proc is that of other PIDs."""
    own, wanted = _read("/proc/self/stat"), _read(f"/proc/{pid}/stat")
    if own is None or wanted is None or own.partition(" ")[0] != str(os.getpid()):
        return None
    return wanted.rpartition(")")[2].split()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("ascii", errors="replace").strip()
    except OSError:
        return None


def _namespace(kind: str) -> str:
    try:
        return str(Path(f"/proc/self/ns/{kind}").readlink())
    except OSError:
        return "-"
