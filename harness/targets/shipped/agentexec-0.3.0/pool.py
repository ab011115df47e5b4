"""The pool of agentexec 0.3.0: its own command line."""

import os
import sys

import variables  # noqa: F401 - sets environment variables
from harness_worker import settings

os.execv(
    sys.executable,
    [
        *(sys.executable, "-c", "from agentexec.cli import main; main()", "run", "tasks:pool"),
        *("--workers", str(settings.workers), "--shutdown-timeout", str(int(settings.graceful))),
    ],
)
