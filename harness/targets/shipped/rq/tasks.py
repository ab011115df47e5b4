"""The job function of RQ, which runs in a work-horse: a process forked from the worker for this job."""

from harness_worker import worker
from rq import get_current_job


def perform(task):
    """Run one task of the harness."""
    with worker.run(task, activity=get_current_job().id):
        pass
