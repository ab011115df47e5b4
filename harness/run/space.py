"""Is there space for what a run writes? A full disk breaks workers, servers and histories, which looks like losses."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from harness.errors import HarnessError
from harness.history.unrecorded import mark

_BYTES = 1 << 16


def require_space(history: Path, *others: Path) -> None:
    """Test that a file can be written into each folder; else mark the history and raise `HarnessError`."""
    for folder in (history, *others):
        try:
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                if file.write(bytes(_BYTES)) != _BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            why = f"no file can be written into {folder} ({os.strerror(error.errno or 0)})"
            mark(history, why)
            raise HarnessError(
                f"{why[:1].upper()}{why[1:]}. Free some space, or choose another disk with --report and TMPDIR."
            ) from None
