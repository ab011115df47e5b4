"""The client of streaq: enqueues tasks under ids of its own, and reads their status and results."""

import asyncio

from harness_worker import client, settings
from streaq import TaskStatus
from tasks import perform, streaq

STATUSES = {
    TaskStatus.QUEUED: "queued",
    TaskStatus.SCHEDULED: "queued",
    TaskStatus.RUNNING: "running",
}


class Streaq:
    """One queue of streaq."""

    def __init__(self):
        self.tasks = {}
        self.connected, self.closing = asyncio.Event(), asyncio.Event()

    async def prepare(self):
        """Connect."""
        self.connection = asyncio.create_task(self.connect())
        await asyncio.wait(
            [self.connection, asyncio.create_task(self.connected.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        if self.connection.done():
            await self.connection

    async def connect(self):
        """Be connected until `close`; streaq has to enter and leave its connection in the same task."""
        async with streaq:
            self.connected.set()
            await self.closing.wait()

    async def submit(self, task):
        """Enqueue one task."""
        activity = f"{settings.queue}-{task['number']}"
        self.tasks[activity] = task["number"]
        enqueued = perform.enqueue(task, activity)
        enqueued.id = activity
        await enqueued
        return activity

    async def statuses(self):
        """The status of each task that streaq has."""
        found = {activity: await self.status(activity) for activity in self.tasks}
        return {activity: status for activity, status in found.items() if status is not None}

    async def status(self, activity):
        """The status of a task in the words of the harness; None if streaq does not have it."""
        status = await streaq.status_by_id(activity)
        if status is not TaskStatus.DONE:
            return STATUSES.get(status)
        return "complete" if (await streaq.result_by_id(activity, timeout=5)).success else "error"

    async def unfinished(self):
        """How many tasks wait or run."""
        return sum(status in ("queued", "running") for status in (await self.statuses()).values())

    async def evidence(self):
        """The status of each task, and what is left in the stream and in the set of scheduled tasks."""
        for activity, status in (await self.statuses()).items():
            yield client.record(self.tasks[activity], activity, status)
        stream = streaq.stream_key + streaq.priorities[0]
        messages = await streaq.redis.xrange(stream)
        pending = (await streaq.redis.xpending(stream, "workers")).pending if messages else 0
        scheduled = await streaq.queue_size() - await streaq.queue_size(include_scheduled=False)
        yield client.queue(
            ready=len(messages) - pending,
            leased=pending,
            scheduled=scheduled,
            held=[entry.field_values["task_id"] for entry in messages],
        )

    async def close(self):
        """Disconnect."""
        self.closing.set()
        await self.connection


client.serve(Streaq())
