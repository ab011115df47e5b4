"""Exit codes of the command line; where sysexits.h has a name for one, with its value."""

from __future__ import annotations

OK = 0
DIFFERENT = 1  # tables differ, or an id is unknown
USAGE = 64
UNAVAILABLE = 69  # a server refuses a request or does not answer
CONFIGURATION = 78
