"""The client of taskiq: sends tasks under ids of its own, and reads their results and what the broker holds."""

import json

from harness_worker import client, running_activities, settings
from redis.asyncio import Redis
from tasks import broker, perform

IS_STREAM = settings.profile.startswith("stream")


class Taskiq:
    """One list or stream of taskiq."""

    def __init__(self):
        self.tasks = {}
        self.redis = Redis.from_url(settings.redis_url)

    async def prepare(self):
        """Connect; the stream and its consumer group are created here."""
        await broker.startup()

    async def submit(self, task):
        """Send one task."""
        activity = f"{settings.queue}-{task['number']}"
        self.tasks[activity] = task["number"]
        await perform.kicker().with_task_id(activity).kiq(task)
        return activity

    async def held(self):
        """The tasks that the broker holds, and whether a worker has them: a list holds only those that wait."""
        if not IS_STREAM:
            return {activity_of(one): False for one in await self.redis.lrange(settings.queue, 0, -1)}
        groups = (
            await self.redis.xinfo_groups(settings.queue) if await self.redis.exists(settings.queue) else []
        )
        if not groups:
            return {}
        pending = await self.redis.xpending_range(settings.queue, "taskiq", "-", "+", 10000)
        taken = {one["message_id"] for one in pending}
        last = order_of(groups[0]["last-delivered-id"])
        return {
            activity_of(fields[b"data"]): message in taken
            for message, fields in await self.redis.xrange(settings.queue)
            if message in taken or order_of(message) > last
        }

    async def statuses(self):
        """The status of each task that waits, runs, or has a result."""
        held, running, found = await self.held(), running_activities(), {}
        for activity in self.tasks:
            if await broker.result_backend.is_result_ready(activity):
                result = await broker.result_backend.get_result(activity)
                found[activity] = "error" if result.is_err else "complete"
            elif activity in held:
                found[activity] = "running" if held[activity] else "queued"
            elif activity in running:
                found[activity] = "running"
        return found

    async def unfinished(self):
        """How many tasks wait or run."""
        return sum(status in ("queued", "running") for status in (await self.statuses()).values())

    async def evidence(self):
        """The status of each task, and what the broker holds."""
        held = await self.held()
        for activity, status in (await self.statuses()).items():
            if status in ("complete", "error") or activity in held:
                yield client.record(self.tasks[activity], activity, status)
        leased = sum(held.values())
        yield client.queue(ready=len(held) - leased, leased=leased, held=list(held))

    async def close(self):
        """Disconnect, and delete what the run left."""
        await self.redis.delete(settings.queue, *self.tasks)
        await self.redis.aclose()
        await broker.shutdown()


def activity_of(message):
    """The id of the task in a message."""
    return json.loads(message)["task_id"]


def order_of(message_id):
    """The place of a message in its stream."""
    milliseconds, sequence = message_id.split(b"-")
    return int(milliseconds), int(sequence)


client.serve(Taskiq())
