"""The pool of RQ: `rq worker-pool` from Python, with workers that record `hello` and look for lost jobs each second."""

from harness_worker import settings, worker
from redis import Redis
from rq import Queue, Worker
from rq.worker_pool import WorkerPool


class HarnessQueue(Queue):
    """A queue whose maintenance lock suits the interval of maintenance in adapter.toml."""

    def acquire_maintenance_lock(self):
        """Let one worker at a time look for lost jobs; the lock of a killed worker lasts 5 s, by default 899 s."""
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=5))


class HarnessWorker(Worker):
    """A worker of RQ with the settings of adapter.toml."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, job_monitoring_interval=1, maintenance_interval=1, worker_ttl=20, **kwargs)

    def work(self, *args, **kwargs):
        """Record `hello`, then work until SIGINT."""
        worker.hello()
        return super().work(*args, **kwargs)


if __name__ == "__main__":
    WorkerPool(
        [settings.queue],
        connection=Redis.from_url(settings.redis_url),
        num_workers=settings.workers,
        queue_class=HarnessQueue,
        worker_class=HarnessWorker,
    ).start()
