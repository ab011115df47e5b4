"""The client of RQ: enqueues jobs, and reads their status and the registries of the queue."""

from uuid import uuid4

from harness_worker import client, settings
from redis import Redis
from rq import Queue, Retry
from rq.job import Job

STATUSES = {
    "started": "running",
    "finished": "complete",
    "failed": "error",
    "stopped": "canceled",
    "canceled": "canceled",
}
KEPT_SECONDS = 3600


class Rq:
    """One queue of RQ. The client chooses the id of a job, so it also knows jobs whose enqueueing failed halfway."""

    def __init__(self):
        self.redis = Redis.from_url(settings.redis_url)
        self.queue = Queue(settings.queue, connection=self.redis)
        self.tasks = {}

    def submit(self, task):
        """Enqueue one job."""
        activity = str(uuid4())
        self.tasks[activity] = task["number"]
        self.queue.enqueue(
            "tasks.perform", task, job_id=activity, retry=Retry(max=10), result_ttl=KEPT_SECONDS
        )
        return activity

    def statuses(self):
        """The status of each submitted job in the words of the harness; none for a job that RQ does not have."""
        ids = list(self.tasks)
        jobs = zip(ids, Job.fetch_many(ids, connection=self.redis))
        return {
            activity: STATUSES.get(job.get_status(refresh=False).value, "queued")
            for activity, job in jobs
            if job
        }

    def unfinished(self):
        """How many jobs wait or run."""
        return sum(status in ("queued", "running") for status in self.statuses().values())

    def evidence(self):
        """The status of each job, and what is left in the queue and in its registries."""
        for activity, status in self.statuses().items():
            yield client.record(self.tasks[activity], activity, status)
        started, scheduled = self.queue.started_job_registry, self.queue.scheduled_job_registry
        held = [
            *self.queue.job_ids,
            *started.get_job_ids(cleanup=False),
            *scheduled.get_job_ids(cleanup=False),
        ]
        yield client.queue(
            ready=len(self.queue),
            leased=started.get_job_count(cleanup=False),
            scheduled=scheduled.get_job_count(cleanup=False),
            dead=self.queue.failed_job_registry.get_job_count(cleanup=False),
            held=held,
        )

    def close(self):
        """Remove the jobs and the queue."""
        for job in Job.fetch_many(list(self.tasks), connection=self.redis):
            if job:
                try:
                    job.delete()
                except ValueError:  # RQ looks for an execution that Redis has lost
                    self.redis.delete(job.key)
        self.queue.delete(delete_jobs=True)


client.serve(Rq())
