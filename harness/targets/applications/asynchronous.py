"""What the applications of asynchronous systems share: a client on an event loop, and worker commands of one process.

The systems are imported from the environment of the application, which the harness does not require.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, describe_error
from harness.history.promises import Loss
from harness.kit.harness_worker.client import LoopThread
from harness.targets.applications.base import OUTSIDE, OwnApplication, OwnSession
from harness.targets.applications.message import TaskMessage
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import TaskLabel

KEPT_SECONDS = 3600
"""For how long at least the end of a task is kept, so that it is there when the run ends."""

_KEYS_AT_ONCE = 1000


def survived(own: frozenset[Loss]) -> frozenset[Loss]:
    """The losses that a system on Redis survives, and those that take nothing from it."""
    return own | (OUTSIDE if Loss.SIGTERM in own else OUTSIDE - {Loss.DEPLOYMENT})


class AsynchronousApplication(OwnApplication):
    """An application whose promises depend on the task that `make` gives first."""

    @abstractmethod
    def message(self, number: int) -> TaskMessage:
        """What `make` gives for the number of a task; raises `TargetFailed`."""

    def first(self) -> TaskMessage | None:
        """The message of task 1; None if `make` gives none, which the first submission raises."""
        try:
            return self.message(1)
        except TargetFailed:
            return None


class AsynchronousSession(OwnSession):
    """A session whose client is asynchronous: each of its calls runs on one event loop in a thread of its own.

    A kind has coroutines in the place of `send`, `statuses` and `remove`, and the arguments of `python -m` that run one
    worker process. A pool has as many of these as the run wants, and starts one that ended again.
    """

    application: AsynchronousApplication

    def __init__(
        self, application: AsynchronousApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        super().__init__(application, endpoints, settings)
        self._loop = LoopThread()
        try:
            self._loop.value(self.connect())
        except Exception as error:
            self._loop.close()
            raise TargetFailed(
                f"The client of {application.distribution} cannot connect: {describe_error(error)}. "
                "See the log of Redis."
            ) from error

    @abstractmethod
    async def connect(self) -> None:
        """Connect the client to the Redis of the run."""

    @abstractmethod
    def worker(self) -> list[str]:
        """The arguments of `python -m` that run one worker process."""

    @abstractmethod
    async def sent(self, message: TaskMessage, activity: str, label: TaskLabel) -> None:
        """Send a message under this id."""

    @abstractmethod
    async def found(self, activities: list[str]) -> Mapping[str, str]:
        """The statuses of these tasks, as far as the system knows them, in the words of histories."""

    @abstractmethod
    async def removed(self) -> None:
        """Remove what the run has left, and disconnect."""

    def command(self, pool: str) -> list[str]:
        del pool
        return [
            *(sys.executable, "-m", "harness.kit.harness_worker.pool"),
            *(sys.executable, "-m", *self.worker()),
        ]

    def variables(self) -> dict[str, str]:
        return {"HARNESS_CONCURRENCY": str(self.settings.concurrency)}

    def message(self, number: int) -> TaskMessage:
        return self.application.message(number)

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        activity = self.activity(label.number)
        self._loop.value(self.sent(message, activity, label))
        return activity

    def statuses(self) -> Mapping[str, str]:
        ids = list(self.submitted)
        found: Mapping[str, str] = self._loop.value(self.found(ids)) if ids else {}
        return found

    def remove(self) -> None:
        try:
            self._loop.value(self.removed())
        finally:
            self._loop.close()

    async def keys(self, redis: Any) -> list[Any]:
        """Every key that has the name of the run's queue, by an asynchronous client of Redis."""
        return [key async for key in redis.scan_iter(f"*{self.settings.queue}*", count=_KEYS_AT_ONCE)]


def require_options(message: TaskMessage, known: Iterable[str], number: int) -> None:
    """Raise `TargetFailed` if `make` gives an option that the system does not have."""
    wrong = sorted(set(message.options) - set(known))
    if wrong:
        raise TargetFailed(
            f"make({number}) gives the option {wrong[0]!r}, which is none. Choose from {', '.join(sorted(known))}."
        )
