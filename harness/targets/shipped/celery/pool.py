"""The pool of Celery: `celery worker` under a node name of its own."""

import os
import sys

from harness_worker import settings

if "late" in settings.profile:
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"
node = f"pool-{os.getpid()}@%h"
command = ["-m", "celery", "-A", "tasks", "worker", "-n", node, "-c", str(settings.workers), "-l", "INFO"]
os.execv(sys.executable, [sys.executable, *command])
