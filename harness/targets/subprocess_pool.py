"""A pool as a subprocess whose workers record into the history folder of the run."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import TargetFailed
from harness.history.figures import counted
from harness.masking import masked
from harness.processes import descendants, is_alive, send
from harness.targets.base import TargetSettings
from harness.targets.programs import Program, start_program

_WORKER_FILE = re.compile(r"worker-(\d+)\.jsonl")
_POLL_SECONDS = 0.02
_LAST_LINES = 15


class SubprocessPool:
    """A parent process; its workers are the descendants that recorded `hello`."""

    def __init__(self, process: Program, *, history: Path, log: Path) -> None:
        self._process = process
        self._history = history
        self._log = log

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        settings: TargetSettings,
        name: str,
        within: float = 30.0,
    ) -> SubprocessPool:
        """Start `command` and return once `settings.workers` workers have recorded `hello`.

        Its output goes to `name`.log beside the history. If the process ends, or its workers are not up after `within`
        seconds, it is killed, and `TargetFailed` is raised with the end of that output.
        """
        log = settings.history / f"{name}.log"
        before = _recorded(settings.history)
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            try:
                process = start_program(
                    command,
                    environment=environment,
                    folder=settings.folder,
                    streams=(nothing.fileno(), output.fileno(), output.fileno()),
                    fork_server=settings.fork_server,
                )
            except OSError as error:
                raise TargetFailed(
                    f"{command[0]} cannot be started: {error.strerror}. Check that it is installed."
                ) from None
        pool = cls(process, history=settings.history, log=log)
        try:
            pool._await_workers(settings.workers, within, name, before)
        except BaseException:
            pool._kill()
            raise
        return pool

    @property
    def pid(self) -> int:
        """Process id of the parent."""
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Living descendants of the parent that have recorded `hello`."""
        recorded = _recorded(self._history)
        # A system that forks for each task leaves many files, so each file is not looked up by itself.
        return [pid for pid in descendants(self.pid) if pid in recorded and is_alive(pid)]

    def wait(self, timeout: float) -> int | None:
        """Exit code of the parent; None if it does not end within `timeout` seconds."""
        try:
            return self._process.wait(None if timeout == math.inf else timeout)
        except subprocess.TimeoutExpired:
            return None

    def log(self) -> str:
        """The output of parent and workers, without secrets."""
        return masked(self._log.read_text(encoding="utf-8", errors="replace"))

    def _await_workers(self, count: int, within: float, name: str, before: Mapping[int, int]) -> None:
        deadline = time.monotonic() + within
        # Reading the list of all processes is slow, so it waits until enough files have grown.
        while (
            len(_recorded(self._history).items() - before.items()) < count or len(self.worker_pids()) < count
        ):
            code = self.wait(_POLL_SECONDS)
            if code is not None:
                raise TargetFailed(
                    f"{name} ended with code {code} before its workers were up. {self._last_output()}"
                )
            if time.monotonic() > deadline:
                raise TargetFailed(
                    f"{name} had {len(self.worker_pids())} of {counted(count, 'worker')} up after {within:g} s. "
                    "A worker is up once its process has recorded `hello`; an adapter calls `worker.hello()` of the "
                    "kit for that, a target `body.say_hello()`, and an own application nothing. "
                    f"{self._last_output()}"
                )

    def _last_output(self) -> str:
        # Without the lines of a traceback that only mark a part of the line before.
        lines = [line for line in self.log().splitlines() if line.strip(" ^~")][-_LAST_LINES:]
        text = "\n".join(lines) or "nothing"
        return f"It wrote to {self._log.name}: {text}"

    def _kill(self) -> None:
        below = descendants(self.pid)
        self._process.kill()
        self._process.wait()
        send(below, signal.SIGKILL)


def _recorded(history: Path) -> dict[int, int]:
    """The sizes of the files of all workers that have recorded into a folder, by process id."""
    files = ((_WORKER_FILE.fullmatch(file.name), file) for file in history.iterdir())
    return {int(found.group(1)): file.stat().st_size for found, file in files if found}
