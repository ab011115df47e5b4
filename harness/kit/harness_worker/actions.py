"""What a handler does at its gate when a fault asks for it: it ends, blocks, forks, leaks, or its clock jumps."""

from __future__ import annotations

import os
import time

from .clock import jump
from .environment import SETTINGS

EXIT, BLOCK, FORK, LEAK, CLOCK = "exit", "block", "fork", "leak", "clock"
ACTIONS = (BLOCK, CLOCK, EXIT, FORK, LEAK)
"""The actions that this kit can carry out; a handler announces them at its gate."""

EXIT_CODE = 70
ORPHAN_SECONDS = 5.0
"""How long a forked child outlives its worker."""
_POLL_SECONDS = 0.05
# Smaller pieces stay free, or the interpreter could not even sleep.
_LARGEST_PIECE_BYTES, _LEAST_PIECE_BYTES = 2**20, 2**12


def carry_out(action: str) -> None:
    """Carry out an action; returns unless its process has ended.

    `exit`, `block SECONDS`, `fork`, `leak MEGABYTES SECONDS`, or `clock SHIFT SECONDS`.
    """
    name, *given = action.split()
    if name == EXIT:
        os._exit(EXIT_CODE)
    elif name == BLOCK:
        time.sleep(float(given[0]))
    elif name == FORK:
        _leave_child(os.getpid())
    elif name == LEAK:
        _leak(int(given[0]) * 2**20, float(given[1]))
    elif name == CLOCK:
        jump(float(given[0]), float(given[1]), SETTINGS.gate)


def _leave_child(worker: int) -> None:
    if os.fork() == 0:
        try:
            while os.getppid() == worker:
                time.sleep(_POLL_SECONDS)
            time.sleep(ORPHAN_SECONDS)
        finally:
            os._exit(0)


def _leak(most: int, seconds: float) -> None:
    """Take `most` bytes, or all that the process may have, keep them for `seconds`, and give them back."""
    pieces, taken, size = [], 0, _LARGEST_PIECE_BYTES
    while taken < most and size >= _LEAST_PIECE_BYTES:
        piece = _piece(size)
        if piece is None:
            size //= 2
        else:
            pieces.append(piece)
            taken += size
    time.sleep(seconds)


def _piece(size: int) -> bytes | None:
    """Memory that is used, and not only asked for; None if the process may not have so much."""
    try:
        return b"x" * size
    except MemoryError:
        return None
