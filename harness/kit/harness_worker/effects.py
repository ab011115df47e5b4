"""A store of outside effects that accepts one effect per fencing token, and none after a higher token.

One folder per activity has one empty file per fencing token. Creating a file is atomic and needs no lock, so neither
SIGKILL nor SIGSTOP of a worker blocks the store for others. The store is independent of the queue and the activity
store under test, so its content is separate evidence.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote


def take_effect(folder: Path, *, activity: str, fence: int) -> bool:
    """Perform the effect of an activity under a fencing token; False if this token or a higher one came before.

    `folder` is the place of the store and is created if it is missing. If two tokens arrive at the same moment, both
    may be accepted, as if the lower token had come first.
    """
    # The prefix and the quotes make a name of one folder of every id, also of `..` and of one with a slash.
    place = folder / f"of-{quote(activity, safe='')}"
    place.mkdir(parents=True, exist_ok=True)
    if any(int(taken.name) >= fence for taken in place.iterdir()):
        return False
    try:
        os.close(os.open(place / str(fence), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        return False
    return True
