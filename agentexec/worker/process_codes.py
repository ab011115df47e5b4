"""Exit codes by which a worker process tells its pool why it ended."""

from __future__ import annotations

EXIT_GONE = 3  # declared dead by the queue; nothing of it is left to release
EXIT_OVERDUE = 5  # a handler outlived its hard time limit; every lease was given back before
EXIT_RECYCLED = 6  # it has run its number of tasks or reached its memory; nothing of it is left to release
EXIT_FAILED = 4  # its start or its I/O failed
