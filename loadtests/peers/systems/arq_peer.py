"""arq on Redis."""

import peer_kit as kit
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

MAX_JOBS = 32

address = RedisSettings.from_dsn(kit.settings.redis_url)


async def perform(ctx, task):
    """Do the work of a task."""
    await kit.run_async(task)


class ArqProducer(kit.Producer):
    """A producer of arq."""

    is_concurrent = True

    async def connect(self):
        """Connect."""
        self.pool = await create_pool(address, default_queue_name=kit.settings.queue)

    async def enqueue(self, task):
        """Enqueue one job."""
        await self.pool.enqueue_job("perform", task)

    async def unfinished(self):
        """Jobs that wait or run."""
        return await self.pool.zcard(kit.settings.queue)

    async def close(self):
        """Disconnect."""
        await self.pool.aclose()


def work():
    """One worker process."""
    options = {"queue_name": kit.settings.queue, "max_jobs": MAX_JOBS, "keep_result": 0}
    Worker([perform], redis_settings=address, **options).run()


producer = ArqProducer()
