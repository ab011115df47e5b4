"""Exit codes of the command line, where there are names for them those of sysexits.h."""

from __future__ import annotations

OK = 0
DIFFERENT = 1  # what was asked about is not so: tables differ, an id is unknown
USAGE = 64
UNAVAILABLE = 69  # a server refused or does not answer
CONFIGURATION = 78
