"""The broker of Dramatiq and its actor, which runs in a thread of a worker process."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Middleware
from harness_worker import settings, worker
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

DONE = f"{settings.queue}.done"
HEARTBEAT_SECONDS = 4

# Dramatiq logs and ignores that a result cannot be stored. So the actor notes its end itself, or else it fails.
redis = Redis.from_url(
    settings.redis_url,
    retry=Retry(ConstantBackoff(0.2), 50),
    retry_on_error=[ConnectionError, TimeoutError],
)
if settings.profile == "rabbitmq":
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    url = f"{settings.rabbitmq_url}?heartbeat={HEARTBEAT_SECONDS}"
    broker = RabbitmqBroker(url=url, confirm_delivery=True)
else:
    broker = RedisBroker(url=settings.redis_url, heartbeat_timeout=5000, maintenance_chance=1_000_000)
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


class Hello(Middleware):
    """Records `hello` in each worker process."""

    def after_worker_boot(self, *_):
        """The threads of this process accept tasks."""
        worker.hello()


broker.add_middleware(Hello())


@dramatiq.actor(queue_name=settings.queue)
def perform(task):
    """Run one task of the harness."""
    activity = CurrentMessage.get_current_message().message_id
    with worker.run(task, activity=activity):
        pass
    redis.sadd(DONE, activity)
