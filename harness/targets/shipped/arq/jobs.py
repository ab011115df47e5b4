"""The job of arq, and one worker process."""

from urllib.parse import parse_qs, urlsplit

from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker
from harness_worker import settings, worker
from redis.asyncio.sentinel import Sentinel


def pool_of_sentinels():
    """The pool of connections to the primary that Sentinels name; None if the URL names none.

    `RedisSettings` has Sentinels too, but no password for them.
    """
    url = urlsplit(settings.redis_url)
    if url.scheme != "redis+sentinel":
        return None
    hosts = [one.split(":") for one in url.netloc.rpartition("@")[2].split(",")]
    asked = Sentinel(
        [(host, int(port)) for host, port in hosts],
        sentinel_kwargs={"password": parse_qs(url.query)["sentinel_password"][0]},
        password=url.password,
    )
    return asked.master_for(url.path.split("/")[1], redis_class=ArqRedis)


async def numbered(ctx, task):
    """Run one task of the harness."""
    async with worker.run(task, activity=ctx["job_id"], attempt=ctx["job_try"]):
        pass


async def started(ctx):
    """Record `hello`: arq calls this once it is connected."""
    worker.hello()


if __name__ == "__main__":
    pool = pool_of_sentinels()
    Worker(
        functions=[numbered],
        redis_pool=pool,
        redis_settings=RedisSettings.from_dsn(settings.redis_url) if pool is None else None,
        queue_name=settings.queue,
        max_jobs=settings.concurrency,
        job_timeout=10,
        on_startup=started,
    ).run()
