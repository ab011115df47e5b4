"""The pool of Celery: `celery worker` under a node name of its own."""

import os

from harness_worker import settings

if "late" in settings.profile:
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # read when Celery is imported

if __name__ == "__main__":
    from tasks import app

    node = f"pool-{os.getpid()}@%h"
    app.worker_main(["worker", "-n", node, "-c", str(settings.workers), "-l", "INFO"])
