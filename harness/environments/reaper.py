"""Cleans up after a run, however the run ended: the sweep itself, and the small process that waits to do it.

The runner holds the write end of a pipe, the reaper the read end. When the runner ends, by any cause down to SIGKILL,
the kernel closes the write end, and the reaper removes every process, container and file of the session. Nothing has
to be registered: a process belongs to the session when it says so itself, by the variable `HARNESS_SESSION` in its
environment, or by a working folder inside the session's folder (Postgres and Valkey write their titles over their
environment, but both change into their data folder), or when its parent belongs. A child of the runner that is still
between fork and exec keeps the pipe open, so the sweep never comes before it.

This file is run by its path, with the standard library and psutil only, so that it starts quickly and whatever the
runner's import path is; the Docker SDK is imported only for a session that had containers.
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
CLEANED = b"cleaned"

_PASS_INTERVAL = 0.02
_CONTAINER_INTERVAL = 0.2
PATIENCE = 30.0
# A request to create a container may have been on its way to the engine when the runner died.
_LATE_CONTAINERS = 2.0
_CLOCK_TOLERANCE = 60.0
_ATTRIBUTES = ["ppid", "status", "environ", "cwd"]

Identity = tuple[int, float]


def identity(pid: int) -> Identity:
    """A process id with its start time (seconds since the epoch), which no later process shares."""
    return pid, psutil.Process(pid).create_time()


def processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes whose working folder is this folder or below it, but for a person's shell."""
    root = _real(folder)
    return [
        process
        for process in psutil.process_iter(["status", "cwd"])
        if _alive(process) and _inside(process.info["cwd"], root) and not _on_a_terminal(process)
    ]


def processes_of(session: str, folder: Path, spared: Iterable[Identity] = ()) -> list[psutil.Process]:
    """Living processes of the session; never the calling process, nor one of `spared`."""
    excluded = dict([identity(os.getpid()), *spared])
    rows = [row for row in psutil.process_iter(_ATTRIBUTES) if not _is_one_of(row, excluded)]
    root = _real(folder)
    claims = {row.pid: _claim(row, session, root) for row in rows}
    found = {pid for pid, claim in claims.items() if claim}
    grown = True
    while grown:
        heirs = {r.pid for r in rows if claims[r.pid] is None and r.info["ppid"] in found} - found
        found |= heirs
        grown = bool(heirs)
    return [row for row in rows if row.pid in found and _alive(row)]


def _is_one_of(process: psutil.Process, known: dict[int, float]) -> bool:
    # Start times are counted from the time of boot, which moves a little when the clock is set.
    started = known.get(process.pid)
    return started is not None and abs(process.create_time() - started) < _CLOCK_TOLERANCE


def _claim(process: psutil.Process, session: str, root: str) -> bool | None:
    """Whether the process itself says that it belongs to the session; None when it says nothing."""
    environment: dict[str, str] = process.info["environ"] or {}
    marked = environment.get(VARIABLE)
    if marked is not None:
        return marked == session
    if _inside(process.info["cwd"], root) and not _on_a_terminal(process):
        return True
    return None


def _on_a_terminal(process: psutil.Process) -> bool:
    """Whether this may be a person's shell that looks around in the folder; servers have no terminal."""
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


def kill_until_gone(find: Callable[[], list[psutil.Process]], patience: float = PATIENCE) -> bool:
    """SIGKILL what `find` returns until two passes in a row find nothing; False when `patience` seconds ran out."""
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
        # Not psutil's wait: it would take the exit codes of the runner's children from those who wait for them.
        time.sleep(_PASS_INTERVAL)
    return False


def remove_containers(session: str, engine: str) -> int:
    """Remove the session's containers with their anonymous volumes; returns how many there were.

    `engine` is the engine's URL, or empty for the usual one. Raises `docker.errors.DockerException` when the engine
    does not answer.
    """
    import docker

    options: dict[str, Any] = {"use_ssh_client": True} if engine.startswith("ssh://") else {}
    client = docker.DockerClient(base_url=engine, **options) if engine else docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": f"{LABEL}={session}"}, ignore_removed=True)
        for container in found:
            # Somebody else (the runner's own stop) may be removing it at this moment.
            with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
                container.remove(force=True, v=True)
        return len(found)
    finally:
        client.close()


def release_shared_memory(folder: Path) -> None:
    """Free the System V segment that a SIGKILLed Postgres leaves in the kernel.

    The seventh line of `postmaster.pid` holds its key and id; a server that ended by itself has removed the file.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for pid_file in folder.glob("*/*/postmaster.pid"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            key, segment = (int(word) for word in pid_file.read_text().splitlines()[6].split())
            if libc.shmget(ctypes.c_int(key), ctypes.c_size_t(0), 0) == segment:
                libc.shmctl(segment, 0, None)


def remove_folder(folder: Path) -> None:
    """Delete the session's folder with all that is in it; a folder of another name is left alone."""
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def engine_of(folder: Path) -> str | None:
    """URL of the Docker engine that the session used (empty for the usual one), None when it used none."""
    try:
        return (folder / ENGINE_MARKER).read_text()
    except OSError:
        return None


def sweep(session: str, folder: Path, spared: Iterable[Identity]) -> None:
    """Remove every process, container and file of the session, as a reaper: retrying, and never giving up early."""
    spared = tuple(spared)
    kill_until_gone(lambda: processes_of(session, folder, spared))
    release_shared_memory(folder)
    engine = engine_of(folder)
    if engine is not None:
        _remove_late_containers(session, engine)
    remove_folder(folder)


def _remove_late_containers(session: str, engine: str) -> None:
    import docker

    start = time.monotonic()
    quiet_since = start
    while time.monotonic() - quiet_since < _LATE_CONTAINERS and time.monotonic() - start < PATIENCE:
        try:
            if remove_containers(session, engine):
                quiet_since = time.monotonic()
        except docker.errors.DockerException:
            # An engine that restarts takes its containers up again: they are still to be removed.
            quiet_since = time.monotonic()
        time.sleep(_CONTAINER_INTERVAL)


def main(session: str, folder: str, runner: str, started: str) -> None:
    """Wait for the pipe on standard input to close, then sweep unless the runner said that it has done so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    said = b""
    while chunk := os.read(0, 64):
        said += chunk
    if said != CLEANED:
        sweep(session, Path(folder), [(int(runner), float(started))])


if __name__ == "__main__":
    main(*sys.argv[1:])
