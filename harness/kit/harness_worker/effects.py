"""A store of outside effects that accepts one effect per fencing token, and none after a higher token.

Each attempt is a line that is appended to a file, and the order of the lines decides. An append is atomic and needs no
lock, so neither SIGKILL nor SIGSTOP of a worker blocks the store for others. Activities share some thousand files: a
run of 200,000 tasks would take minutes to remove as many folders. The store is independent of the queue and the
activity store under test, so its content is separate evidence.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.parse import quote


def take_effect(folder: Path, *, activity: str, fence: int) -> bool:
    """Perform the effect of an activity under a fencing token; False if this token or a higher one came before.

    `folder` is the place of the store and is created if it is missing. Raises `OSError` if the attempt cannot be
    written, as on a full disk.
    """
    name = quote(activity, safe="")
    mark = os.urandom(8).hex()  # by which two attempts with one token differ
    attempt = f"{name} {fence} {mark}\n".encode("ascii")
    folder.mkdir(parents=True, exist_ok=True)
    # The prefix makes a name of a file of the end of every id, also of `..`.
    with (folder / f"of-{name[-3:]}").open("ab+", buffering=0) as file:
        if file.write(attempt) != len(attempt):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
        file.seek(0)
        earlier = file.read().partition(attempt)[0].splitlines()
    own = f"{name} ".encode("ascii")
    return all(int(line.split()[1]) < fence for line in earlier if line.startswith(own))
