"""Exit codes by which a worker process tells its pool why it ended."""

from __future__ import annotations

EXIT_GONE = 3  # declared dead by the queue; nothing of it is left to release
EXIT_FAILED = 4  # its start or its I/O failed
