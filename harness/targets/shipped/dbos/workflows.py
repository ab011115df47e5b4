"""The workflow of DBOS, and one worker process: an executor."""

import fcntl
import os
import re
import signal
from itertools import count

from dbos import DBOS
from harness_worker import settings, worker

QUEUE, WORKFLOW = "numbered-queue", "numbered"
# Postgres has names of at most 63 bytes.
SCHEMA = re.sub(r"\W", "_", settings.queue)[-63:]


@DBOS.step()
def perform(activity, task):
    """Run one task of the harness."""
    with worker.run(task, activity=activity):
        pass


@DBOS.workflow(name=WORKFLOW)
def numbered(task):
    """A workflow of one step."""
    perform(DBOS.workflow_id, task)


def free_executor():
    """The first executor id that no living process has. This process has it until it ends, by a lock on a file.

    The replacement of a dead process so gets the id of the dead one, as in a StatefulSet of Kubernetes.
    """
    for number in count():
        descriptor = os.open(f"executor-{number}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return f"executor-{number}"


def main():
    """Run one executor until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    DBOS(
        config={
            "name": "harness",
            "application_version": "1",
            "executor_id": free_executor(),
            "system_database_url": settings.database_url,
            "dbos_system_schema": SCHEMA,
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=settings.concurrency)
    worker.hello()
    signal.sigwait([signal.SIGTERM])
    DBOS.destroy(workflow_completion_timeout_sec=int(settings.graceful))


if __name__ == "__main__":
    main()
