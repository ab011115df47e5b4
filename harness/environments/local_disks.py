"""Limits of a local server's disk: a small file system of its own, and a bound on the length of its files.

Neither needs root. The file system ends with the process that asked for it, however that ends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from harness.environments import reaper
from harness.environments.base import SMALL_DISK_BYTES
from harness.environments.local_server import LocalServer
from harness.errors import GateError

# The file system is mounted in a namespace of its own, which ends with its last process: at the end of its input.
_MOUNT = f'mount -t tmpfs -o size={SMALL_DISK_BYTES} harness "$0" && echo mounted && exec cat'
_HOLDER = ("unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", _MOUNT)


class SmallDisk:
    """An empty file system of `SMALL_DISK_BYTES`; the server reaches it by `path`. Raises `GateError`."""

    def __init__(self, server: LocalServer) -> None:
        place = server.home / "small-disk"
        place.mkdir(exist_ok=True)
        try:
            self._holder = subprocess.Popen(
                [*_HOLDER, str(place)],
                cwd="/",  # not in the folder of the server, with which it would be killed
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=server.environment(),
                start_new_session=True,
                **server.credentials(),
            )
        except OSError as error:
            raise _no_disk(f"{_HOLDER[0]}: {error.strerror}") from None
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if not self._holder.stdout.readline():
            why = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise _no_disk(why)
        self.path = f"/proc/{self._holder.pid}/root{place}"

    def close(self) -> None:
        """Remove it, with all files in it."""
        with self._holder:
            return


@contextmanager
def limited_files(server: LocalServer, size: int) -> Iterator[None]:
    """The server cannot write behind the first `size` bytes of any file."""
    before: list[tuple[psutil.Process, tuple[int, int]]] = []
    try:
        for process in reaper.processes_in(server.home):
            with suppress(psutil.NoSuchProcess):
                limits = process.rlimit(psutil.RLIMIT_FSIZE)
                process.rlimit(psutil.RLIMIT_FSIZE, (size, limits[1]))
                before.append((process, limits))
        yield
    finally:
        for process, limits in before:
            with suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, limits)


def _no_disk(why: str) -> GateError:
    return GateError(
        f"this machine gives the server no file system of its own ({why}). "
        "Allow user namespaces, install util-linux, or choose --backend containers."
    )
