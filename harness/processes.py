"""Signals to processes, and their state, by process id; a process that has ended is no error."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

import psutil


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


def ports(pid: int) -> set[int]:
    """The own TCP ports of a process; empty if it has ended."""
    try:
        return {one.laddr.port for one in psutil.Process(pid).net_connections("tcp")}
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
