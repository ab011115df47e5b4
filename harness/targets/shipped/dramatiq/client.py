"""The client of Dramatiq: sends messages under ids of its own, and reads the messages at the broker."""

from brokers import queue_of
from harness_worker import client
from tasks import DONE, broker, perform, redis


class DramatiqClient:
    """One queue of Dramatiq, whose actors note their end in Redis."""

    def __init__(self):
        self.queue = queue_of(broker, redis)
        self.tasks = {}

    def submit(self, task):
        """Send one message."""
        message = perform.message(task)
        self.tasks[message.message_id] = task["number"]
        self.queue.send(message)
        return message.message_id

    def done(self):
        """The ids of the tasks that have ended."""
        return [activity.decode() for activity in redis.smembers(DONE)]

    def unfinished(self):
        """How many tasks wait or run."""
        return self.queue.unfinished(len(self.tasks) - len(self.done()))

    def evidence(self):
        """The status of each task, and the messages that are left."""
        (ready, delayed, leased), dead = self.queue.held(), self.queue.dead()
        statuses = {
            **dict.fromkeys([*ready, *delayed], "queued"),
            **dict.fromkeys(leased, "running"),
            **dict.fromkeys(dead, "error"),
            **dict.fromkeys(self.done(), "complete"),
        }
        for activity, status in statuses.items():
            if activity in self.tasks:
                yield client.record(self.tasks[activity], activity, status)
        yield client.queue(
            ready=len(ready),
            leased=len(leased),
            scheduled=len(delayed),
            dead=len(dead),
            held=[*ready, *delayed, *leased],
        )

    def close(self):
        """Remove the messages and the notes of their ends."""
        self.queue.delete()
        redis.delete(DONE)


client.serve(DramatiqClient())
