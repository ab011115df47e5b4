"""The history file of this worker process: one line of JSON for each operation, which survives SIGKILL.

Each process id has a file of its own, `worker-PID.jsonl`, so a process that is forked from a worker opens another one.
Threads share the file of their process: each line is one `write(2)` with O_APPEND. A process that cannot write puts the
reason into the file `unrecorded`, in which the harness has reserved space: missing lines then accuse no queue.
"""

from __future__ import annotations

import json
import os
import threading
import time

from .environment import SETTINGS


class WorkerFile:
    """The history file of this process in `folder`; its first operation is `hello`."""

    def __init__(self, folder: str) -> None:
        self._process = f"worker-{os.getpid()}"
        self._folder = folder
        path = f"{folder}/{self._process}.jsonl"
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self._mark(error)
            raise
        self.record("info", "hello", {"pid": os.getpid()})

    def record(self, kind: str, f: str, value: dict[str, object]) -> None:
        """Write one operation, stamped now; raises `OSError` if the disk is full."""
        operation = {
            "time": time.monotonic_ns(),
            "process": self._process,
            "type": kind,
            "f": f,
            "value": value,
        }
        line = json.dumps(operation, separators=(",", ":")).encode() + b"\n"
        try:
            # The harness reports a line that was cut off as broken, not as missing.
            if os.write(self._fd, line) != len(line):
                raise OSError(
                    f"an operation of {self._process} could not be written whole; see the disk's free space"
                )
        except OSError as error:
            self._mark(error)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _mark(self, error: OSError) -> None:
        try:
            mark = os.open(f"{self._folder}/unrecorded", os.O_WRONLY | os.O_CLOEXEC)
            os.write(mark, f"{self._process}.jsonl: {error.strerror or error}".encode()[:512])
            os.close(mark)
        except OSError:
            return  # the folder has no such file, or nothing can be written at all


_lock = threading.Lock()
_files: dict[int, WorkerFile] = {}


def worker_file() -> WorkerFile:
    """The file of this process; opens it, and so records `hello`, at the first call."""
    pid = os.getpid()
    with _lock:
        if pid not in _files:
            close_files()
            _files[pid] = WorkerFile(SETTINGS.history)
        return _files[pid]


def close_files() -> None:
    """Close the file of this process, and the copy of its parent's if it was forked."""
    while _files:
        _files.popitem()[1].close()


def _renew_lock() -> None:
    # Another thread of the parent may hold the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
