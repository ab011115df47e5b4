"""The log of one load generator: every attempt and its outcome, as operations of `harness.history`.

    PROCESS  enqueue   invoke: task, name                        ok: task, activity, latency_ms
                       fail or info: task, error                 (fail: certainly not recorded, info: unknown)
    PROCESS  complete  ok: task, activity, status, latency_ms    (seen in Postgres; status is the terminal one)
    PROCESS  load      info: phase                               (start | stop: between the two, tasks arrive)
    PROCESS  drained   info: pending, seconds                    (the end of the drain)

Latencies are milliseconds from the intended time of a task.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.history import OperationType, Recorder

# The environment variable with the folder; a command that starts Locust sets it.
ENV_FOLDER = "HARNESS_LOAD_HISTORY"


class TaskLog:
    """Writes operations to its own file in a folder; without a folder it writes nothing."""

    def __init__(self, folder: Path | None) -> None:
        process = f"load-{os.getpid()}"
        self._recorder = Recorder(folder / f"{process}.jsonl", process=process) if folder else None

    def note(self, kind: OperationType, f: str, /, **value: Any) -> None:
        """Write one operation with the current time."""
        if self._recorder is not None:
            self._recorder.record(kind, f, **value)

    def close(self) -> None:
        """Close the file; may be called once."""
        if self._recorder is not None:
            self._recorder.close()


def counted(folder: Path, f: str) -> int:
    """How many `ok` operations `f` the generators have recorded so far. An estimate for the progress line."""
    wanted = f'"type":"ok","f":"{f}"'.encode()
    return sum(file.read_bytes().count(wanted) for file in folder.glob("load-*.jsonl"))
