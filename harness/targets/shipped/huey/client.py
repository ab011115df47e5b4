"""The client of huey: enqueues tasks under ids of its own, and reads their results and the list of pending ones."""

from harness_worker import client, running_activities, settings
from huey.exceptions import TaskException
from tasks import huey, perform


class Huey:
    """One queue of huey."""

    def __init__(self):
        self.tasks = {}

    def submit(self, task):
        """Enqueue one task."""
        activity = f"{settings.queue}-{task['number']}"
        self.tasks[activity] = task["number"]
        huey.enqueue(perform.s(task, id=activity))
        return activity

    def statuses(self):
        """The status of each task that is pending, runs, or has a result."""
        pending = {one.id for one in (*huey.pending(), *huey.scheduled())}
        running = running_activities()
        found = {}
        for activity in self.tasks:
            if activity in pending:
                found[activity] = "queued"
            elif huey.storage.has_data_for_key(activity):
                found[activity] = self.ended(activity)
            elif activity in running:
                found[activity] = "running"
        return found

    def ended(self, activity):
        """Whether the task with this result is complete."""
        try:
            huey.result(activity, preserve=True)
        except TaskException:
            return "error"
        return "complete"

    def unfinished(self):
        """How many tasks wait or run."""
        return sum(status in ("queued", "running") for status in self.statuses().values())

    def evidence(self):
        """The status of each task that huey knows, and what is left in its list."""
        found = self.statuses()
        for activity, status in found.items():
            # That a task runs is known from its handler, not from huey.
            if status != "running":
                yield client.record(self.tasks[activity], activity, status)
        yield client.queue(
            ready=huey.pending_count(),
            scheduled=huey.scheduled_count(),
            held=[activity for activity, status in found.items() if status == "queued"],
        )

    def close(self):
        """Delete what the run left."""
        huey.flush()


client.serve(Huey())
