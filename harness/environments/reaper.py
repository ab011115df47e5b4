"""Removes every process, container, cgroup and file of a session after its run, even if the runner is killed.

The runner has the write end of a pipe and the reaper process the read end. When the runner ends for any reason,
SIGKILL included, the kernel closes the write end, and the reaper sweeps the session.

No registration is necessary. A process belongs to the session if the variable `HARNESS_SESSION` in its environment says
so, if its working folder is inside the session's folder (Postgres and Valkey overwrite their environment with a process
title, but both change into their data folder), or if its parent belongs to the session. A child of the runner between
fork and exec keeps the pipe open, so the sweep cannot miss it.

This file is run by its path and imports only the standard library and psutil. It therefore starts quickly and does not
depend on the runner's import path. It imports the Docker SDK only if the session used containers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

VARIABLE = "HARNESS_SESSION"
LABEL = "agentexec-harness.session"
FOLDER_PREFIX = "hx-"
ENGINE_MARKER = "engine"
MEMORY_GROUPS = "memory-groups"
CLEANED = b"cleaned"

_PASS_SECONDS = 0.02
_CONTAINER_PASS_SECONDS = 0.2
PATIENCE_SECONDS = 30.0
# The engine may still create a container whose request was sent before the runner died.
_LATE_CONTAINER_SECONDS = 2.0
_CLOCK_TOLERANCE_SECONDS = 60.0
_ATTRIBUTES = ["ppid", "status", "environ", "cwd"]

Identity = tuple[int, float]


def identity(pid: int) -> Identity:
    """A process id with its start time (seconds since the epoch), unique among all processes."""
    return pid, psutil.Process(pid).create_time()


def processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes whose working folder is this folder or inside it, except a user's shell."""
    root = _real(folder)
    return [
        process
        for process in psutil.process_iter(["status", "cwd"])
        if _alive(process) and _inside(process.info["cwd"], root) and not _on_a_terminal(process)
    ]


def processes_of(session: str, folder: Path, spared: Iterable[Identity] = ()) -> list[psutil.Process]:
    """Living processes of the session, without the calling process and those in `spared`."""
    excluded = dict([identity(os.getpid()), *spared])
    rows = [row for row in psutil.process_iter(_ATTRIBUTES) if not _is_one_of(row, excluded)]
    root = _real(folder)
    belongs = {row.pid: _belongs(row, session, root) for row in rows}
    found = {pid for pid, member in belongs.items() if member}
    grown = True
    while grown:
        children = {r.pid for r in rows if belongs[r.pid] is None and r.info["ppid"] in found} - found
        found |= children
        grown = bool(children)
    return [row for row in rows if row.pid in found and _alive(row)]


def _is_one_of(process: psutil.Process, known: dict[int, float]) -> bool:
    # Start times are relative to the boot time, which changes a little when the clock is set.
    started = known.get(process.pid)
    return started is not None and abs(process.create_time() - started) < _CLOCK_TOLERANCE_SECONDS


def _belongs(process: psutil.Process, session: str, root: str) -> bool | None:
    """Whether the process belongs to the session by its own environment or folder; None if neither decides."""
    environment: dict[str, str] = process.info["environ"] or {}
    marked = environment.get(VARIABLE)
    if marked is not None:
        return marked == session
    if _inside(process.info["cwd"], root) and not _on_a_terminal(process):
        return True
    return None


def _on_a_terminal(process: psutil.Process) -> bool:
    """Whether the process may be a user's shell in the folder; servers have no terminal."""
    try:
        return process.terminal() is not None
    except psutil.Error:
        return False


def _alive(process: psutil.Process) -> bool:
    return process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _inside(path: str | None, root: str) -> bool:
    return path is not None and (
        path == root or path.startswith(root + os.sep) or path == root + " (deleted)"
    )


def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def kill_until_gone(find: Callable[[], list[psutil.Process]], patience: float = PATIENCE_SECONDS) -> bool:
    """SIGKILL what `find` returns until it returns nothing twice in a row; False after `patience` seconds."""
    deadline = time.monotonic() + patience
    clean = 0
    while time.monotonic() < deadline:
        found = find()
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        clean = 0 if found else clean + 1
        if clean == 2:
            return True
        # Not psutil's wait: it would collect the exit codes of the runner's children.
        time.sleep(_PASS_SECONDS)
    return False


def remove_containers(session: str, engine: str) -> int:
    """Remove the session's containers with their anonymous volumes; returns how many were found.

    `engine` is the URL of the engine, empty for the default one. Raises `docker.errors.DockerException` if the
    engine does not answer.
    """
    import docker

    options: dict[str, Any] = {"use_ssh_client": True} if engine.startswith("ssh://") else {}
    client = docker.DockerClient(base_url=engine, **options) if engine else docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": f"{LABEL}={session}"}, ignore_removed=True)
        for container in found:
            # The runner may be removing it at the same moment.
            with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
                container.remove(force=True, v=True)
        return len(found)
    finally:
        client.close()


def release_shared_memory(folder: Path, pid_files: str = "*/*/postmaster.pid") -> None:
    """Free the System V shared memory segments that SIGKILLed Postgres servers leave behind.

    `pid_files` is the pattern of their files in the folder. The seventh line of `postmaster.pid` has its key and id; a
    server that ends normally removes the file.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for pid_file in folder.glob(pid_files):
        with contextlib.suppress(OSError, IndexError, ValueError):
            key, segment = (int(word) for word in pid_file.read_bytes().splitlines()[6].split())
            if libc.shmget(ctypes.c_int(key), ctypes.c_size_t(0), 0) == segment:
                libc.shmctl(segment, 0, None)


def remove_memory_groups(folder: Path) -> None:
    """Remove the memory cgroups that the session has noted in its folder; its processes have ended."""
    with contextlib.suppress(OSError):
        for line in (folder / MEMORY_GROUPS).read_text("utf-8").splitlines():
            with contextlib.suppress(OSError):  # the run itself has removed it
                Path(line).rmdir()


def remove_folder(folder: Path) -> None:
    """Delete the session's folder with its content; does nothing for a folder without the session prefix."""
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def engine_of(folder: Path) -> str | None:
    """The URL of the Docker engine that the session used (empty for the default one), None if it used none."""
    try:
        return (folder / ENGINE_MARKER).read_text("utf-8")
    except OSError:
        return None


def sweep(session: str, folder: Path, spared: Iterable[Identity]) -> None:
    """Remove every process, container, cgroup and file of the session, with retries."""
    spared = tuple(spared)
    kill_until_gone(lambda: processes_of(session, folder, spared))
    release_shared_memory(folder)
    remove_memory_groups(folder)
    engine = engine_of(folder)
    if engine is not None:
        _remove_late_containers(session, engine)
    remove_folder(folder)


def _remove_late_containers(session: str, engine: str) -> None:
    import docker

    start = time.monotonic()
    last_found = start
    while (
        time.monotonic() - last_found < _LATE_CONTAINER_SECONDS
        and time.monotonic() - start < PATIENCE_SECONDS
    ):
        try:
            if remove_containers(session, engine):
                last_found = time.monotonic()
        except docker.errors.DockerException:
            # An engine that restarts continues its containers, so they still have to be removed.
            last_found = time.monotonic()
        time.sleep(_CONTAINER_PASS_SECONDS)


def main(session: str, folder: str, runner: str, started: str) -> None:
    """Wait until the pipe on standard input closes, then sweep, unless the runner reported that it has cleaned up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    report = b""
    while chunk := os.read(0, 64):
        report += chunk
    if report != CLEANED:
        sweep(session, Path(folder), [(int(runner), float(started))])


if __name__ == "__main__":
    main(*sys.argv[1:])
