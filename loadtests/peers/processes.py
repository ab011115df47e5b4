"""The processes of one peer: its producer, which answers calls, and its pool of workers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import TargetFailed

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.005
_LAST_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How the processes of a peer are started; `folder` gets their logs."""

    python: str
    module: str
    pool: Sequence[str]
    pools: int
    folder: Path
    variables: Mapping[str, str]

    @contextmanager
    def producer(self, *, install: bool = False) -> Iterator[ProducerProcess]:
        """The producer, connected, and closed at the end; with `install` it creates what the peer needs."""
        with self._log("producer").open("ab") as log:
            process = subprocess.Popen(
                [self.python, "-m", "run_peer", self.module, "producer"],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        try:
            producer = ProducerProcess(process, self._log("producer"))
            producer.ways = producer.call("prepare", install=install)["ways"]
            yield producer
            producer.call("close")
            process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            process.wait(PATIENCE_SECONDS)
        finally:
            _kill([process])

    @contextmanager
    def workers(self) -> Iterator[WorkerPool]:
        """The pool of workers, killed at the end if it still runs."""
        for file in self.folder.glob("arrived-*"):
            file.unlink()
        with self._log("workers").open("ab") as log:
            processes = [
                subprocess.Popen(
                    self.pool,
                    env=self._environment(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for _ in range(self.pools)
            ]
        pool = WorkerPool(processes, self.folder, self._log("workers"))
        try:
            yield pool
        finally:
            pool.kill()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


class ProducerProcess:
    """Answers calls; raises `TargetFailed` with the end of its log if it cannot."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.ways: list[str] = []

    @property
    def pids(self) -> list[int]:
        """Its process."""
        return [self._process.pid]

    def call(self, name: str, **arguments: object) -> dict[str, Any]:
        """Call the producer and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"call": name, **arguments}).encode() + b"\n")
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_SECONDS)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            why = "ended" if readable else f"did not answer within {PATIENCE_SECONDS:g} s"
            raise failed(f"the producer {why} at the call {name!r}", self._log)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise failed(f"the producer's call {name!r} failed: {answer['error']}", self._log)
        return answer


class WorkerPool:
    """The started processes of a pool, each in a session of its own with its children."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], folder: Path, log: Path) -> None:
        self._processes = processes
        self._folder = folder
        self.log = log

    @property
    def pids(self) -> list[int]:
        """The started processes; their children are below them."""
        return [process.pid for process in self._processes]

    @property
    def arrived(self) -> int:
        """How many worker processes have a first task."""
        return sum(1 for _ in self._folder.glob("arrived-*"))

    @property
    def is_running(self) -> bool:
        """Whether none of the started processes has ended."""
        return all(process.poll() is None for process in self._processes)

    def kill(self) -> None:
        """SIGKILL all processes at once."""
        _kill(self._processes)

    def terminate(self) -> None:
        """SIGTERM the started processes and wait for their ends; raises `TargetFailed` if they do not end."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        try:
            for process in self._processes:
                process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise failed(f"the pool did not end within {PATIENCE_SECONDS:g} s of SIGTERM", self.log) from None

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a condition is true; raises `TargetFailed` if the pool ends first, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.is_running or time.monotonic() > deadline:
                why = f"within {seconds:g} s" if self.is_running else "before the pool ended"
                raise failed(f"{what} {why}", self.log)
            time.sleep(POLL_SECONDS)


def failed(what: str, log: Path) -> TargetFailed:
    """The error, with the end of a log."""
    lines = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
    end = " | ".join(lines[-_LAST_LINES:]) or "nothing"
    return TargetFailed(f"{what[:1].upper()}{what[1:]}. Its log ends with: {end}")


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()
