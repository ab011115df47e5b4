"""The pool of Celery: `celery worker` under a node name of its own."""

import os
import sys

from harness_worker import settings

if "late" in settings.profile:
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # read when Celery is imported

if __name__ == "__main__":
    from celery.__main__ import main

    node = f"pool-{os.getpid()}@%h"
    options = ["-n", node, "-c", str(settings.workers), "-l", "INFO"]
    sys.argv = ["celery", "-A", "tasks", "worker", *options]
    main()
