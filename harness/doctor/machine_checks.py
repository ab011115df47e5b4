"""Checks of the machine or container of the doctor: what the production guide asks of one that runs a pool."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from harness.doctor.area import Area
from harness.doctor.check import CheckFinding, check, failed, passed, warned
from harness.doctor.installation import Installation

_machine = partial(check, area=Area.MACHINE)
MINIMUM_PYTHON = (3, 11)
CORES_OF_WORKER, BYTES_OF_WORKER = 0.5, 512_000_000  # of the production guide
VERSION = sys.version_info
CGROUP = Path("/sys/fs/cgroup")


@_machine(
    "machine.python",
    asks="Is this Python 3.11 or newer?",
    why="agentexec needs it, and an older one gets no more repairs of security.",
    remedy="Run the pool with a newer Python; the image of deploy/image has one.",
)
def python(_: Installation) -> CheckFinding:
    """The interpreter of the doctor, which is that of a pool in the same environment."""
    seen = f"Python {VERSION[0]}.{VERSION[1]}.{VERSION[2]}"
    return passed(seen) if VERSION[:2] >= MINIMUM_PYTHON else failed(seen)


@_machine(
    "machine.cores",
    asks="Is there half a core for each worker of a pool?",
    why="Handlers of one pool take the time of its leases and of its records: tasks are late, and leases expire.",
    remedy="Give the container more, or set AGENTEXEC_NUM_WORKERS lower and AGENTEXEC_WORKER_CONCURRENCY higher.",
)
def cores(site: Installation) -> CheckFinding:
    """Of the affinity and the limit of the container; WARN only: a pool may run elsewhere."""
    workers, there = site.settings.num_workers, cores_here()
    seen = f"{there:g} cores for {workers} workers"
    return passed(seen) if there >= CORES_OF_WORKER * workers else warned(seen)


@_machine(
    "machine.memory",
    asks="Are there 512 MB for each worker of a pool?",
    why="The kernel ends the largest process when the memory is full, with all tasks that it runs.",
    remedy="Give the container more memory, set fewer workers, or bound them by AGENTEXEC_MAX_WORKER_MEMORY.",
    scenario="exhaust-memory",
)
def memory(site: Installation) -> CheckFinding:
    """Of the machine and the limit of the container; WARN only: a pool may run elsewhere."""
    workers, there = site.settings.num_workers, memory_here()
    seen = f"{there / 1e6:,.0f} MB for {workers} workers"
    return passed(seen) if there >= BYTES_OF_WORKER * workers else warned(seen)


def cores_here() -> float:
    """The cores that this process may use."""
    there = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with suppress(OSError, ValueError):  # no limit is the word max
        quota, period = (CGROUP / "cpu.max").read_text("ascii").split()
        there = min(there, int(quota) / int(period))
    return there


def memory_here() -> float:
    """The bytes that this process may use."""
    there = float(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):
        there = min(there, int((CGROUP / "memory.max").read_text("ascii")))
    return there
