"""The pool of huey: its own consumer, with the options of adapter.toml."""

import os
import sys

from harness_worker import settings

OPTIONS = ["-k", "process", "-w", str(settings.workers), "--no-periodic", "--health-check-interval", "1"]
if settings.profile != "defaults":
    OPTIONS += ["--graceful-signal", "TERM", "--shutdown-timeout", str(settings.graceful)]

os.execv(sys.executable, [sys.executable, "-m", "huey.bin.huey_consumer", "tasks.huey", *OPTIONS])
