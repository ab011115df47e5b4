"""What a handler does at its gate when a fault asks for it: end its process, block its thread, or fork a child."""

from __future__ import annotations

import os
import time

EXIT, BLOCK, FORK = "exit", "block", "fork"
ACTIONS = (BLOCK, EXIT, FORK)
"""The actions that this kit can carry out; a handler announces them at its gate."""

EXIT_CODE = 70
ORPHAN_SECONDS = 5.0
"""How long a forked child outlives its worker."""
_POLL_SECONDS = 0.05


def carry_out(action: str) -> None:
    """Carry out `exit`, `block SECONDS` or `fork`; returns unless its process has ended."""
    name, _, seconds = action.partition(" ")
    if name == EXIT:
        os._exit(EXIT_CODE)
    elif name == BLOCK:
        time.sleep(float(seconds))
    elif name == FORK:
        _leave_child(os.getpid())


def _leave_child(worker: int) -> None:
    if os.fork() == 0:
        try:
            while os.getppid() == worker:
                time.sleep(_POLL_SECONDS)
            time.sleep(ORPHAN_SECONDS)
        finally:
            os._exit(0)
