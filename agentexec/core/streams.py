"""Standard streams that are closed, or whose reader has ended. No process may fail because of them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def open_standard_descriptors() -> None:
    """Open /dev/null under the standard descriptors that are closed.

    Otherwise the next connection or pipe gets such a number, and child processes write their output into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)


def flush_standard_streams() -> None:
    """Flush standard output and error. One that cannot be written to goes to /dev/null from here on.

    The interpreter flushes both at its end, and a failure there changes the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
