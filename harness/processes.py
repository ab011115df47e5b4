"""Signals to processes, and their state, by process id; a process that has ended is no error."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process in order; skips processes that have ended."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    """Process ids of all descendants of a process; empty if it has ended."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def owner_of_port(port: int, pids: Iterable[int], *, to: int) -> int | None:
    """The first of some processes that has a TCP connection from this port to the port `to`; None if none has.

    Connections to different ports may come from the same one.
    """
    if not _TABLES[0].exists():
        return next((pid for pid in pids if (port, to) in _connections(pid)), None)
    # One look at the table of all sockets: psutil reads it for each process, and it is long.
    line = re.compile(rb"^ *\d+: [0-9A-F]+:%04X [0-9A-F]+:%04X (?:\S+ +){6}(\d+)" % (port, to), re.MULTILINE)
    tables = (table.read_bytes() for table in _TABLES if table.exists())
    sockets = {f"socket:[{found.decode()}]" for table in tables for found in line.findall(table)}
    return next((pid for pid in pids if sockets & _open_files(pid)), None)


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it has ended
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(file.readlink()))
    return found


def _connections(pid: int) -> set[tuple[int, int]]:
    try:
        found = psutil.Process(pid).net_connections("tcp")
        # A socket that listens has no other end.
        return {(one.laddr.port, getattr(one.raddr, "port", 0)) for one in found}
    except psutil.Error:
        return set()


def tree_seconds(roots: Iterable[int]) -> float:
    """Seconds of processor time of some processes and all below them, with those of their ended children."""
    total = 0.0
    for pid in [one for root in roots for one in (root, *descendants(root))]:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def own_memory(roots: Iterable[int]) -> dict[int, int]:
    """Bytes that some processes and all below them have in memory and share with no file, by process id."""
    found: dict[int, int] = {}
    for pid in [one for root in roots for one in (root, *descendants(root))]:
        with suppress(psutil.Error):  # it ended meanwhile
            memory = psutil.Process(pid).memory_info()
            found[pid] = memory.rss - getattr(memory, "shared", 0)
    return found
