"""An application of agentexec as a target: its own pool with its own handlers, on the servers of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import agentexec as ax
from agentexec.producer.encoding import write_context
from agentexec.producer.requests import checked_requests
from agentexec.task import UncheckedContext
from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError, describe_error
from harness.history.promises import Promises
from harness.targets.agentexec_target import AgentexecSession, opened
from harness.targets.application_reference import ENV_APPLICATION, environment_on
from harness.targets.applications.message import made_by, wrong_form
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.promised import everything, without_times_of_handlers
from harness.targets.wrapped_handler import LABEL, TaskLabel

ENV_OWN_QUEUE = "HARNESS_OWN_QUEUE"
"""The environment variable with the name of the queue that the pool has without the harness."""

_FORMS = "(name, context), (name, context, options) or an ax.TaskRequest"


@dataclass(frozen=True, kw_only=True)
class AgentexecApplication:
    """A pool whose tasks `make` makes; `reference` gives the name by which worker processes import it."""

    pool: ax.Pool
    make: Callable[[int], Any]
    reference: Callable[[], str]
    work: float | None = None

    @classmethod
    def wrap(
        cls, value: object, *, make: Callable[[int], Any], reference: Callable[[], str], work: float | None
    ) -> AgentexecApplication:
        """Wrap a pool; raises `UsageError` for another object of agentexec."""
        if not isinstance(value, ax.Pool):
            raise UsageError(f"app() takes an ax.Pool, not {type(value).__name__}. Pass the pool that runs.")
        return cls(pool=value, make=make, reference=reference, work=work)

    def version(self) -> str:
        """The version of the installed agentexec."""
        return ax.__version__

    @property
    def task_names(self) -> Collection[str]:
        """The names of the tasks that the pool has."""
        return self.pool.registry.keys()

    def promises(self, settings: TargetSettings) -> Promises:
        """Those of agentexec, without what the application decides: progress, SQL, how long handlers go on."""
        return without_times_of_handlers(replace(everything(settings), progress=False, deadlock_free=False))

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> ApplicationSession:
        """Open a session and create agentexec's schema if it is missing; raises `TargetFailed`."""
        return opened(lambda: ApplicationSession(self, endpoints, settings))


class ApplicationSession(AgentexecSession):
    """The pool of an application on given servers with its own queue."""

    pool = "harness.targets.applications.agentexec_pool:pool"
    number = (LABEL, "number")
    reads_results = False

    def __init__(
        self, application: AgentexecApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        super().__init__(endpoints, settings)
        self._application = application
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._making = threading.Lock()

    def folder(self) -> Path:
        """The current folder, in which the application runs without the harness too."""
        return Path.cwd()

    def environment(self) -> dict[str, str]:
        """The environment of this process on the servers of the run."""
        application = self._application
        servers = {
            "AGENTEXEC_DATABASE_URL": self._endpoints.database_url,
            "AGENTEXEC_REDIS_URL": self._endpoints.redis_url,
            "AGENTEXEC_METRICS_PORT": "0",
            ENV_APPLICATION: application.reference(),
            ENV_OWN_QUEUE: application.pool.settings.queue_name,
        }
        return {**environment_on(self._endpoints), **self.settings_of_run(), **servers}

    def request(self, task: TaskSpec) -> ax.TaskRequest:
        """What `make` gives for the number of a task, with the label of the task in its context."""
        made = self.made(task.number)
        definition = self._application.pool.registry.get(made.task_name)
        if definition is None:
            known = ", ".join(sorted(self._application.pool.registry)) or "none"
            raise TargetFailed(
                f"make({task.number}) names the task {made.task_name!r}, which the pool does not have. Known: {known}."
            )
        try:
            (made,) = checked_requests([made])
            written, received, _ = write_context(made.task_name, made.context, definition.context_type)
        except ax.InvalidTask as error:
            why = describe_error(error)
            raise TargetFailed(
                f"make({task.number}) gives a task that agentexec refuses: {why}. Correct it."
            ) from None
        lock = made.lock_key or definition.lock_key(received) or task.lock
        label = TaskLabel.of(task, work=self._application.work, lock=lock)
        return replace(
            made,
            context=UncheckedContext({**written, LABEL: label.to_value()}),
            lock_key=lock,
            priority=made.priority if task.priority is None else ax.Priority(task.priority),
        )

    def made(self, number: int) -> ax.TaskRequest:
        """What `make` gives for the number of a task.

        Many clients submit at once, and the application's `make` need not know that: it runs in one at a time.
        """
        with self._making:
            made = _as_request(self._application.make, number)
        self._names[number] = made.task_name
        return made

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Enqueue all tasks; one whose idempotency key belongs to an earlier task is certainly refused."""
        answers = super().submit(tasks)
        return [replace(self._once(one), name=self._names.pop(one.number, None)) for one in answers]

    def _once(self, submission: Submission) -> Submission:
        if submission.activity is None:
            return submission
        first = self._numbers.setdefault(submission.activity, submission.number)
        if first == submission.number:
            return submission
        error = f"task {first} has the same idempotency key"
        return Submission(number=submission.number, error=error, certain=True)


def _as_request(make: Callable[[int], Any], number: int) -> ax.TaskRequest:
    """The task that `make` gives; raises `TargetFailed`, one sentence that says what is wrong with it."""
    made = made_by(make, number)
    try:
        match made:
            case ax.TaskRequest():
                return made
            case (str() as name, context):
                return ax.TaskRequest(task_name=name, context=context)
            case (str() as name, context, Mapping() as options):
                return ax.TaskRequest(task_name=name, context=context, **options)
    except TypeError as error:
        raise TargetFailed(
            f"make({number}) has a wrong option: {describe_error(error)}. Correct it."
        ) from None
    raise wrong_form(number, made, _FORMS)
