"""The pool of RQ: `rq worker-pool` from Python, with workers that record `hello` and look for lost jobs each second."""

from harness_worker import settings, worker
from redis import Redis
from rq import Worker
from rq.worker_pool import WorkerPool


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
        worker_class=HarnessWorker,
    ).start()
