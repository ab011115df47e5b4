"""A pool that is a subprocess whose workers record into the run's history folder: what most targets need."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.errors import TargetFailed
from harness.masking import masked
from harness.processes import descendants, descends_from, send
from harness.targets.base import TargetSettings

_WORKER_FILE = re.compile(r"worker-(\d+)\.jsonl")
_POLL = 0.02
_LAST_LINES = 15


class SubprocessPool:
    """The parent process; its workers are those of its descendants that said `hello` in the history."""

    def __init__(self, process: subprocess.Popen[bytes], *, history: Path, log: Path) -> None:
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
        """Start `command` and return once as many workers as `settings` asks for have said hello.

        Its output goes to `name`.log beside the history. Raises `TargetFailed` with the end of that output where the
        process ends, or its workers are not up `within` so many seconds; nothing of it runs then.
        """
        log = settings.history / f"{name}.log"
        with log.open("ab") as output:
            process = _popen(command, environment, settings.folder, output)
        pool = cls(process, history=settings.history, log=log)
        try:
            pool._await_workers(settings.workers, within, name)
        except BaseException:
            pool._kill()
            raise
        return pool

    @property
    def pid(self) -> int:
        """Process id of the parent."""
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Descendants of the parent that live and have said hello."""
        said = (_WORKER_FILE.fullmatch(file.name) for file in self._history.iterdir())
        return [pid for found in said if found and descends_from(pid := int(found.group(1)), self.pid)]

    def wait(self, timeout: float) -> int | None:
        """Exit code of the parent once it ended, None if it has not within `timeout` seconds."""
        try:
            return self._process.wait(None if timeout == math.inf else timeout)
        except subprocess.TimeoutExpired:
            return None

    def log(self) -> str:
        """What parent and workers wrote to their output, without secrets."""
        return masked(self._log.read_text(encoding="utf-8", errors="replace"))

    def _await_workers(self, count: int, within: float, name: str) -> None:
        deadline = time.monotonic() + within
        while len(self.worker_pids()) < count:
            code = self.wait(_POLL)
            if code is not None:
                raise TargetFailed(
                    f"{name} ended with code {code} before its workers were up. {self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise TargetFailed(
                    f"{name} had {len(self.worker_pids())} of {count} workers up after {within:g} s. "
                    f"{self._last_words()}"
                )

    def _last_words(self) -> str:
        lines = self.log().strip().splitlines()[-_LAST_LINES:]
        said = "\n".join(lines) or "nothing"
        return f"It wrote to {self._log.name}: {said}"

    def _kill(self) -> None:
        below = descendants(self.pid)
        self._process.kill()
        self._process.wait()
        send(below, signal.SIGKILL)


def _popen(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal is the runner's to handle: it stops the pool in order.
            start_new_session=True,
        )
    except OSError as error:
        raise TargetFailed(f"{command[0]} cannot be started: {error.strerror}. Is it installed?") from None
