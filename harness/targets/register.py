"""The outside world of a workload: a store of effects that takes each at most once, and none from a lost token.

One folder per activity holds one empty file per fencing token. Creating it is atomic and there is nothing to lock, so
neither SIGKILL nor SIGSTOP of a worker can leave the store unusable to others. It is independent of the queue and the
record under test: what it has taken is evidence of its own.
"""

from __future__ import annotations

import os
from pathlib import Path


def take_effect(folder: Path, *, activity: str, fence: int) -> bool:
    """Take the effect of an activity under a fencing token; False where this token or a higher one was here before.

    `folder` holds the store and is created where it is missing. Of two tokens that come at the same moment the lower
    one may be taken as well: it was first then, and the higher one stands.
    """
    place = folder / activity
    place.mkdir(parents=True, exist_ok=True)
    if any(int(taken.name) >= fence for taken in place.iterdir()):
        return False
    try:
        os.close(os.open(place / str(fence), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        return False
    return True
