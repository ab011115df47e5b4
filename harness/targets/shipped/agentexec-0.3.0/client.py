"""The client of agentexec 0.3.0: enqueues tasks under ids of its own, and reads their activities."""

import asyncio
import json
from uuid import UUID, uuid4

from harness_worker import client, settings
from sqlalchemy import delete, select
from tasks import NumberedTask, ax, pool

Activity, ActivityLog = ax.activity.models.Activity, ax.activity.models.ActivityLog
backend = ax.state.backend


class Agentexec:
    """One queue of agentexec: a list of Redis, and activities in Postgres."""

    def __init__(self):
        self.tasks = {}

    async def prepare(self):
        """Create the tables."""
        async with pool._engine.begin() as connection:
            await connection.run_sync(ax.Base.metadata.create_all)

    async def submit(self, task):
        """Do what `agentexec.enqueue` does, with an id of our own."""
        activity = uuid4()
        self.tasks[str(activity)] = task["number"]
        await ax.activity.create("numbered", agent_id=activity)
        context = NumberedTask(task=task).model_dump(mode="json")
        message = ax.Task(task_name="numbered", context=context, agent_id=activity)
        await backend.queue.push(message.model_dump_json(), priority=ax.Priority.LOW)
        return str(activity)

    async def statuses(self):
        """The last status of each activity."""
        found = await asyncio.gather(*(ax.activity.detail(agent_id=one) for one in self.tasks))
        return {str(one.agent_id): one.logs[-1].status.value for one in found if one is not None}

    async def unfinished(self):
        """How many activities wait or run."""
        return sum(status in ("queued", "running") for status in (await self.statuses()).values())

    async def evidence(self):
        """The status of each activity, and what is left in the list."""
        for activity, status in (await self.statuses()).items():
            yield client.record(self.tasks[activity], activity, status)
        left = await backend.client.lrange(f"{settings.queue}:tasks", 0, -1)
        yield client.queue(ready=len(left), held=[json.loads(one)["agent_id"] for one in left])

    async def close(self):
        """Delete what the run left, and disconnect."""
        await backend.client.delete(f"{settings.queue}:tasks")
        await backend.close()
        # Not the tables: a setting for their names exists, and a foreign key in this version ignores it.
        mine = select(Activity.id).where(Activity.agent_id.in_([UUID(one) for one in self.tasks]))
        async with pool._engine.begin() as connection:
            await connection.execute(delete(ActivityLog).where(ActivityLog.activity_id.in_(mine)))
            await connection.execute(delete(Activity).where(Activity.id.in_(mine)))
        await ax.core.db.dispose_engine()


client.serve(Agentexec())
