"""Locust's users of a queue and of the status API."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Unpack

from locust import HttpUser, User, between
from locust.exception import StopUser
from pydantic import BaseModel

import agentexec as ax
from agentexec.task import EnqueueOptions
from harness.load.arriving import Stopped, Taken
from harness.load.locust_registry import load_of
from harness.load.locust_test import UserTask
from harness.load.schedule import PlannedArrival

_numbers = itertools.count()


class QueueUser(User):
    """A user that enqueues tasks. Under an `OpenShape` it runs one of its Locust tasks for each due arrival.

    `queue` is the queue of its tasks, None for that of --load-queue. Without an `OpenShape` its `wait_time` counts, as
    in every Locust user (a closed model).
    """

    abstract = True
    queue: ClassVar[str | None] = None

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._number = next(_numbers)
        self._taken: Taken | None = None
        self._sender = load_of(environment).sender()
        if self._sender.is_open:
            # Also in place of the `wait_time` of a subclass.
            self.wait_time = self._wait  # type: ignore[method-assign]  # Locust calls it as an attribute

    @property
    def arrival(self) -> PlannedArrival | None:
        """The arrival that the next `enqueue` sends, with the size of a replay; None in a closed model."""
        if self._taken is None and self._sender.is_open:
            self._take()
        return None if self._taken is None else self._taken.arrival

    def enqueue(
        self, task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]
    ) -> ax.Task | None:
        """Enqueue a task and wait until it is durable; None if it was not acknowledged, which is a failure in Locust.

        The options are those of `agentexec.Client.enqueue`. Further calls in the same Locust task wait for the next
        due arrivals.
        """
        if self._taken is None and self._sender.is_open:
            self._take()
        taken, self._taken = self._taken, None
        try:
            return self._sender.send(
                UserTask(
                    user=self._number,
                    queue=self.queue,
                    taken=taken,
                    name=task_name,
                    context=context,
                    options=options,
                )
            )
        except Stopped:
            raise StopUser from None

    def stop(self, force: bool = False) -> bool:
        """Locust ends this user, also to have it in another process; another one sends what it took."""
        ended: bool = super().stop(force)
        if ended and self._taken is not None:
            taken, self._taken = self._taken, None
            self._sender.give_back(type(self).__name__, taken)
        return ended

    def wait_for(self, task: ax.Task) -> None:
        """Wait until a task is terminal, as a user of a closed model does before the next one."""
        self._sender.wait_for(task)

    def _wait(self) -> float:
        if self._taken is not None:  # the last Locust task enqueued nothing
            self._sender.skip(self._taken)
        self._take()
        return 0.0

    def _take(self) -> None:
        try:
            self._taken = self._sender.take(type(self).__name__)
        except Stopped:
            raise StopUser from None


class ApiUser(HttpUser):
    """A user that reads statuses over HTTP. It is closed on purpose: a person waits for the page before the next one.

    The address is the `host` of the class, or --load-api, or a --host that begins with http.
    """

    abstract = True
    wait_time = between(1, 5)
    own_host: ClassVar[str | None] = None
    """The `host` that the class was declared with: Locust replaces it with --host, which may be that of Redis."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.own_host = cls.__dict__.get("host") or cls.own_host

    def __init__(self, environment: Any) -> None:
        self.host = self.own_host or load_of(environment).options().api_url()
        super().__init__(environment)  # type: ignore[no-untyped-call]  # Locust does not annotate it

    def status(self, task: ax.Task) -> Any:
        """Read the status of a task; one row for all tasks."""
        return self.client.get(f"/api/tasks/{task.agent_id}", name="/api/tasks/[id]")

    def list_tasks(self, **parameters: Any) -> Any:
        """Read a page of tasks, as a dashboard does."""
        return self.client.get("/api/tasks", params=parameters, name="/api/tasks")
