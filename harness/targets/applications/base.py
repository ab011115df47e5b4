"""What the applications of every kind share: the object that runs them, its pools, its tasks, and their ends."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError, describe_error
from harness.history import Operation, OperationType
from harness.history.promises import DeliveryMode, Loss, Promises
from harness.targets.adapter import SHIPPED
from harness.targets.adapter_file import read_adapter
from harness.targets.application_reference import ENV_APPLICATION, environment_on
from harness.targets.applications.message import Make, TaskMessage
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.body import worker_environment
from harness.targets.subprocess_pool import SubprocessPool
from harness.targets.wrapped_handler import TaskLabel

OUTSIDE = frozenset(
    {
        *(Loss.DEPLOYMENT, Loss.DATABASE_RESTARTED, Loss.DATABASE_FROZEN, Loss.DATABASE_FULL),
        *(Loss.DATABASE_LOCKED, Loss.DATABASE_READ_ONLY, Loss.STATEMENTS_CANCELED, Loss.BACKENDS_TERMINATED),
    }
)
"""The losses that take nothing from a system whose tasks are not in Postgres."""

TERMINAL = frozenset({"complete", "error", "canceled"})
"""The statuses of tasks that have ended, in the words of histories."""


def imported(module: str) -> Any:
    """A module of the application's environment, which the harness does not require."""
    return import_module(module)


def class_of(value: object, *names: str) -> type | None:
    """The class of a value, or the one it inherits from, that has one of these names, `module:Class`; None without."""
    kinds = (kind for kind in type(value).__mro__ if f"{kind.__module__}:{kind.__qualname__}" in names)
    return next(kinds, None)


def shipped_promises(name: str, profile: str = "") -> Promises:
    """The promises of a shipped adapter with quotes; the settings of an application decide which of them hold.

    None is at-most-once: the retries of an application run a task again whose handler failed.
    """
    found = read_adapter(SHIPPED / name, profile).promises
    if found.delivery is DeliveryMode.AT_LEAST_ONCE:
        return found
    quotes = {field: quote for field, quote in found.quotes.items() if field != "delivery"}
    return replace(found, delivery=DeliveryMode.AT_LEAST_ONCE, quotes=quotes)


@dataclass(frozen=True, kw_only=True)
class OwnApplication(ABC):
    """An application whose tasks `make` makes; `reference` names it for worker processes.

    A kind states the `distribution` of its system, the `classes` of the objects that it takes, as `module:Class`, and
    in words what it takes.
    """

    distribution: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    takes: ClassVar[str]

    own: Any
    make: Make
    reference: Callable[[], str]
    work: float | None = None

    @classmethod
    def wrap(cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None) -> Self:
        """Wrap the object that runs an application; raises `UsageError` for another object of its package."""
        if class_of(value, *cls.classes) is None:
            raise UsageError(f"app() takes {cls.takes}, not {type(value).__name__}. Pass that object.")
        return cls(own=value, make=make, reference=reference, work=work)

    @property
    def task_names(self) -> Collection[str] | None:
        """The names of its tasks, None for a system in which only its workers know them all."""
        return None

    def version(self) -> str:
        """The version of the installed system."""
        return version(self.distribution)

    @abstractmethod
    def promises(self, settings: TargetSettings) -> Promises:
        """What the system promises under the settings of the application."""

    @abstractmethod
    def open(self, endpoints: Endpoints, settings: TargetSettings) -> OwnSession:
        """Open a session; raises `TargetFailed` if the servers do not answer."""


class OwnSession(ABC):
    """The workers of an application on the servers of a run, and a client that sends its tasks.

    A kind has the worker `command`, sends messages, and reads the statuses of tasks. `store` is the process of the
    history that has them.
    """

    store: ClassVar[str] = "redis"

    def __init__(self, application: OwnApplication, endpoints: Endpoints, settings: TargetSettings) -> None:
        self.application = application
        self.endpoints = endpoints
        self.settings = settings
        self.submitted: dict[str, int] = {}
        """The acknowledged tasks: the number of each by its id."""
        self._pools = 0
        self._making = threading.Lock()

    @abstractmethod
    def command(self, pool: str) -> list[str]:
        """The system's own worker command for a pool of this name."""

    @abstractmethod
    def message(self, number: int) -> TaskMessage:
        """What `make` gives for the number of a task; raises `TargetFailed`."""

    @abstractmethod
    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        """Send a message with its label and return the id of the task; may raise anything."""

    @abstractmethod
    def statuses(self) -> Mapping[str, str]:
        """The status of each task that the system knows, in the words of histories; may raise anything."""

    @abstractmethod
    def remove(self) -> None:
        """Remove what the run has left at the broker, and disconnect; may raise anything."""

    def variables(self) -> Mapping[str, str]:
        """The environment variables that this kind adds for its workers."""
        return {}

    def activity(self, number: int) -> str:
        """An id for a task whose system lets the client choose it."""
        return f"{self.settings.queue}-{number}"

    def start_pool(self) -> SubprocessPool:
        """Start the worker command in the current folder and return once its workers are up."""
        self._pools += 1
        name = f"pool-{self._pools}"
        settings = replace(self.settings, folder=Path.cwd())
        return SubprocessPool.start(
            self.command(name), environment=self._environment(), settings=settings, name=name
        )

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Send tasks in order. `make` need not know that many clients submit: it runs in one of them at a time."""
        return [self._submit(task) for task in tasks]

    def _submit(self, task: TaskSpec) -> Submission:
        with self._making:
            message = self.message(task.number)
        return replace(self._sent(task, message), name=message.title)

    def _sent(self, task: TaskSpec, message: TaskMessage) -> Submission:
        label = TaskLabel.of(task, work=self.application.work, lock=None)
        try:
            activity = self.send(message, label)
        except TargetFailed:
            raise
        except TypeError as error:
            raise TargetFailed(
                f"make({task.number}) gives a task that {self.application.distribution} refuses: "
                f"{describe_error(error)}. Correct it."
            ) from error
        except Exception as error:  # noqa: BLE001 - transports raise errors of their own
            return Submission(number=task.number, error=describe_error(error))
        first = self.submitted.setdefault(activity, task.number)
        if first != task.number:
            why = f"task {first} has the same id"
            return Submission(number=task.number, error=why, certain=True)
        return Submission(number=task.number, activity=activity)

    def unfinished(self) -> int:
        """How many tasks that the system knows have no end yet."""
        return sum(status not in TERMINAL for status in self._statuses().values())

    def witnesses(self) -> Iterator[Operation]:
        """The last status of each task."""
        for activity, status in self._statuses().items():
            value = {"task": self.submitted[activity], "activity": activity, "status": status}
            yield Operation(
                time=time.monotonic_ns(),
                process=self.store,
                type=OperationType.INFO,
                f="record",
                value=value,
            )

    def close(self) -> None:
        """Remove what the run has left and disconnect."""
        try:
            self.remove()
        except Exception as error:  # noqa: BLE001 - as above
            raise TargetFailed(f"The keys of the run cannot be removed: {describe_error(error)}.") from None

    def _statuses(self) -> Mapping[str, str]:
        try:
            found = self.statuses()
        except Exception as error:  # noqa: BLE001 - as above
            raise TargetFailed(
                f"The results cannot be read: {describe_error(error)}. See the log of {self.store.capitalize()}."
            ) from None
        return {activity: found[activity] for activity in list(self.submitted) if activity in found}

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        return {
            **environment_on(self.endpoints),
            **worker_environment(settings.history, settings.gate_address),
            ENV_APPLICATION: self.application.reference(),
            "HARNESS_REDIS_URL": self.endpoints.redis_url,
            "HARNESS_QUEUE": settings.queue,
            "HARNESS_WORKERS": str(settings.workers),
            "HARNESS_LEASE": str(settings.lease),
            "HARNESS_GRACEFUL": str(settings.graceful_shutdown),
            "PYTHONUNBUFFERED": "1",
            **self.variables(),
        }
