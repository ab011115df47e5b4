"""One worker: several consumers, each of which pops destructively, runs the task, and writes its status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading

from psycopg import AsyncConnection
from redis.asyncio import Redis

from harness.targets import body
from tests.planted.destructive_pop.store import Store


async def work() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    body.say_hello()
    consumers = [
        asyncio.create_task(consume(stopping)) for _ in range(int(os.environ["PLANTED_CONCURRENCY"]))
    ]
    await stopping.wait()
    _, late = await asyncio.wait(consumers, timeout=float(os.environ["PLANTED_GRACEFUL"]))
    for consumer in late:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)


async def consume(stopping: asyncio.Event) -> None:
    store = Store(os.environ["PLANTED_QUEUE"])
    connection = await AsyncConnection.connect(os.environ["PLANTED_DATABASE"], autocommit=True)
    redis: Redis = Redis.from_url(os.environ["PLANTED_REDIS"])
    async with connection, redis:
        while not stopping.is_set():
            popped = await redis.brpop([store.queue], timeout=1)
            if popped is not None:
                await run(json.loads(popped[1]), store, connection)


async def run(task: dict[str, object], store: Store, connection: AsyncConnection) -> None:
    async def change(status: str, n: int) -> None:
        await connection.execute(store.change, {"id": task["id"], "status": status, "n": n})

    await change("running", 0)
    try:
        await body.perform(
            int(str(task["number"])),
            activity=str(task["id"]),
            attempt=1,
            fence=1,
            work=float(str(task["work"])),
            gate=None if task["gate"] is None else str(task["gate"]),
        )
    except Exception as error:
        print(f"task {task['number']} failed: {error!r}", file=sys.stderr)
        await change("error", 1)
    else:
        await change("complete", 1)


def die_with_parent() -> None:
    while sys.stdin.buffer.read(1):
        continue
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=die_with_parent, daemon=True).start()
    asyncio.run(work())
