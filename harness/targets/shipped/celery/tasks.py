"""The application of Celery and its task, which runs in a child process of the pool."""

from celery import Celery
from celery.signals import worker_process_init
from harness_worker import settings, worker

VISIBILITY_SECONDS = 10
HEARTBEAT_SECONDS = 4
ON_RABBITMQ = "rabbitmq" in settings.profile

broker = settings.rabbitmq_url if ON_RABBITMQ else settings.redis_url
app = Celery("tasks", broker=broker, backend=settings.redis_url)
app.conf.update(
    task_default_queue=settings.queue,
    task_track_started=True,
    # Else a task fails, or has no end, if its state cannot be stored while Redis restarts.
    result_backend_always_retry=True,
    worker_lost_wait=2.0,
)
if ON_RABBITMQ:
    app.conf.update(broker_heartbeat=HEARTBEAT_SECONDS, broker_transport_options={"confirm_publish": True})
else:
    app.conf.update(
        # The documentation asks for the same value in all three.
        visibility_timeout=VISIBILITY_SECONDS,
        result_backend_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
    )
if "late" in settings.profile:
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=settings.graceful,
    )


@worker_process_init.connect
def started(**_):
    """Record `hello` in each child process."""
    worker.hello()


@app.task(bind=True)
def perform(self, task):
    """Run one task of the harness."""
    with worker.run(task, activity=self.request.id):
        pass
