"""Several processes that simulate, and the lines of JSON that they print."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

ENDED_EARLY = "A process of the simulation ended early; run it with --jobs 1 to see why."


# The modules that start those of jobs.
_launchers: list[str] = []


@contextmanager
def launched_by(module: str) -> Iterator[None]:
    """In a `with` block, let this module run those of all jobs: it gets their names as its first argument."""
    _launchers.append(module)
    try:
        yield
    finally:
        _launchers.pop()


def lines_of_jobs(module: str, every: Iterable[Iterable[str]]) -> Generator[dict[str, object], None, None]:
    """Run a module once for each list of arguments, all at the same time; yields their lines as they arrive.

    Closing the generator ends the processes.
    """
    processes = [_start(module, arguments) for arguments in every]
    try:
        yield from _lines([process.stdout for process in processes if process.stdout])
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def _start(module: str, arguments: Iterable[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", *_launchers[-1:], module, *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}  # noqa: PTH109 - a string
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)


def _lines(streams: Sequence[IO[bytes]]) -> Iterator[dict[str, object]]:
    """The lines of all jobs in the order of their arrival."""
    with selectors.DefaultSelector() as selector:
        rest = dict.fromkeys(streams, b"")
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while rest:
            for key, _ in selector.select():
                stream = next(one for one in rest if one is key.fileobj)
                chunk = os.read(stream.fileno(), 65_536)
                if not chunk:
                    selector.unregister(stream)
                    del rest[stream]
                    continue
                *lines, rest[stream] = (rest[stream] + chunk).split(b"\n")
                yield from map(json.loads, lines)
