"""Which tasks run, for clients of systems that remove a task when they take it, and so do not know."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .environment import SETTINGS


def running_activities(folder: str | None = None) -> frozenset[str]:
    """The activities whose handler runs in a worker process that lives, by the files of the workers.

    `folder` is where they are, None for that of `HARNESS_HISTORY`.
    A task between its removal from the queue and the begin of its handler is not among them.
    """
    found: set[str] = set()
    for path in Path(folder or SETTINGS.history).glob("worker-*.jsonl"):
        if _is_alive(int(path.stem.split("-")[1])):
            found |= _open_runs(path)
    return frozenset(found)


def _open_runs(path: Path) -> set[str]:
    found: set[str] = set()
    # A last line without its end is still being written.
    for line in path.read_text("utf-8").split("\n")[:-1]:
        operation = json.loads(line)
        if operation["f"] == "run":
            change = found.add if operation["type"] == "invoke" else found.discard
            change(operation["value"]["activity"])
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
