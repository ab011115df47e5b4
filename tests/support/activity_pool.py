"""A pool as a child process, for the tests of the activity store on real servers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, func, select

from agentexec.activity import PENDING, Activity
from tests.support.environment import child_environment
from tests.support.pool_process import PoolProcess, start_pool


def environment(database_url: str, redis_url: str, queue: str) -> dict[str, str]:
    """The environment of a small pool that retries soon."""
    return child_environment(
        database_url,
        redis_url,
        queue,
        AGENTEXEC_NUM_WORKERS="2",
        AGENTEXEC_WORKER_CONCURRENCY="4",
        AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT="5",
        AGENTEXEC_RETRY_BASE_SECONDS="0.01",
    )


@contextmanager
def running_pool(
    pool: str, folder: Path, variables: Mapping[str, str], forks: str | None = None
) -> Iterator[PoolProcess]:
    """`agentexec worker POOL` until the end of the block, then a SIGTERM that it has to obey with exit code 0."""
    process = start_pool(pool, environment=variables, folder=folder, log=folder / "pool.log", forks=forks)
    try:
        yield process
        process.signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.log
    except BaseException:
        print(process.log[-4_000:])
        raise
    finally:
        process.signal(signal.SIGKILL)
        process.wait()


def wait_until_over(engine: Engine, queue: str, deadline: float = 60.0) -> dict[str, int]:
    """Wait until no activity of the queue is pending; returns how many ended as what."""
    mine = Activity.queue_name == queue
    end = time.monotonic() + deadline
    while True:
        with engine.connect() as connection:
            pending = connection.execute(
                select(func.count()).where(mine, Activity.status.in_(PENDING))
            ).scalar_one()
            if not pending:
                counts = select(Activity.status, func.count()).where(mine).group_by(Activity.status)
                return {status.value: number for status, number in connection.execute(counts)}
        if time.monotonic() > end:
            raise AssertionError(f"{pending} activities of {queue} are pending after {deadline} s")
        time.sleep(0.05)
