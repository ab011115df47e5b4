"""The exceptions of the harness, in one tree.

    HarnessError                    exit code 2: the run could not reach a verdict
    ├── EnvironmentUnavailable      a server does not start, or a registry or Docker engine does not answer
    ├── TargetFailed                the system under test does not start, or its state cannot be read
    │   └── AdapterMistake          the adapter answered in a way that its protocol does not have
    ├── RecordingFailed             an operation cannot be written to the history
    ├── GateError                   a handler did not arrive at a gate, or a gate did not open in time
    └── UsageError                  exit code 64 (EX_USAGE of sysexits.h): the request is wrong

Each message has one sentence that says what is wrong and one that says what to do; none contains a secret.
"""

from __future__ import annotations

from harness.masking import masked

EXIT_VALID = 0
EXIT_INVALID = 1
EXIT_UNKNOWN = 2
EXIT_USAGE = 64

FOREIGN_ERRORS = (Exception, SystemExit)
"""What code that is not the harness's own may raise: its `sys.exit()` must not decide the exit code of a run."""


class HarnessError(Exception):
    """The run could not reach a verdict; the message says why and what to do."""

    exit_code = EXIT_UNKNOWN


class EnvironmentUnavailable(HarnessError):
    """Postgres or Redis does not start, is not reachable, or is too old."""


class TargetFailed(HarnessError):
    """The system under test did not start, or its state cannot be read."""


class AdapterMistake(TargetFailed):
    """The adapter raised an error, or gave an answer that its protocol does not have; messages begin with `PREFIX`."""

    PREFIX = "A mistake of the adapter:"


class RecordingFailed(HarnessError, OSError):
    """An operation cannot be written to the history: the disk is full, or a limit is reached."""


class GateError(HarnessError):
    """No handler arrived at a gate in time, a gate did not open in time, or its keeper is unreachable."""


class UsageError(HarnessError):
    """The request is wrong: an unknown name, a bad option, an unwritable folder."""

    exit_code = EXIT_USAGE


def first_line(error: BaseException) -> str:
    """The first line of an error's message without secrets; the name of its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return masked(lines[0]) if lines else type(error).__name__


def describe_error(error: BaseException) -> str:
    """The type of an error and the first line of its message, without secrets and without a final full stop."""
    lines = str(error).strip().splitlines() or [""]
    return masked(f"{type(error).__name__}: {lines[0]}".rstrip(".: "))
