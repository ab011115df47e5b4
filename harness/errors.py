"""Everything the harness raises on purpose, in one tree.

    HarnessError                    exit code 2: the run could not reach a verdict
    ├── EnvironmentUnavailable      servers that do not start, a registry or engine that does not answer
    ├── TargetFailed                the system under test could not be started or asked
    ├── GateError                   a rendezvous between runner and handler that did not come about
    └── UsageError                  exit code 64 (EX_USAGE of sysexits.h): the request itself is wrong

Each message is one sentence that says what is wrong and one that says the remedy; none contains a secret.
"""

from __future__ import annotations

EXIT_VALID = 0
EXIT_INVALID = 1
EXIT_UNKNOWN = 2
EXIT_USAGE = 64


class HarnessError(Exception):
    """The run could not reach a verdict; the message says why and what to do about it."""

    exit_code = EXIT_UNKNOWN


class EnvironmentUnavailable(HarnessError):
    """Postgres or Redis could not be provided: not startable, not reachable, or too old."""


class TargetFailed(HarnessError):
    """The system under test did not start, or refused to be asked about its state."""


class GateError(HarnessError):
    """Nobody arrived at a gate in time, a gate was not opened in time, or its keeper cannot be reached."""


class UsageError(HarnessError):
    """The request is wrong: an unknown name, a bad option, an unwritable folder."""

    exit_code = EXIT_USAGE
