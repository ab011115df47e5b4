"""RQ on Redis: a pool of workers, each of which forks a process for each job."""

import peer_kit as kit
from redis import Redis
from rq import Queue, Worker
from rq.worker_pool import WorkerPool

redis = Redis.from_url(kit.settings.redis_url)
queue = Queue(kit.settings.queue, connection=redis)


def perform(task):
    """Do the work of a task."""
    kit.run(task)


class ArrivingWorker(Worker):
    """A worker that waits for the gate before its first job; the processes of its jobs need not wait any more."""

    def execute_job(self, *args, **kwargs):
        """Wait for the gate once, then fork."""
        kit.arrive()
        return super().execute_job(*args, **kwargs)


class RqProducer(kit.Producer):
    """A producer of RQ."""

    def enqueue(self, task):
        """Enqueue one job."""
        queue.enqueue("rq_peer.perform", task)

    def enqueue_many(self, tasks):
        """Enqueue jobs with one pipeline."""
        queue.enqueue_many([Queue.prepare_data("rq_peer.perform", (task,)) for task in tasks])

    def unfinished(self):
        """Jobs that wait or run."""
        return len(queue) + queue.started_job_registry.get_job_count(cleanup=False)


def work():
    """The pool of workers."""
    pool = {"num_workers": kit.settings.workers, "worker_class": ArrivingWorker}
    WorkerPool([queue.name], connection=redis, **pool).start(logging_level="WARNING")


producer = RqProducer()
