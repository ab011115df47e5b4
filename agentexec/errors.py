"""Everything agentexec raises on purpose, in one tree.

    AgentexecError
    ├── ConfigurationError      a setting is missing or makes no sense; nothing was started
    ├── UnsupportedServer       Postgres or Redis is older than the supported minimum
    ├── RegistrationError       a handler cannot be registered as it is written
    ├── InvalidTask             a task that cannot be enqueued: unknown shape, payload too large
    │   └── PayloadTooLarge     its context takes more than AGENTEXEC_MAX_PAYLOAD_BYTES
    ├── QueueFull               the queue's depth cap is reached; the task is recorded and dispatched later
    ├── WorkerGone              this worker was declared dead by its pool and has lost every lease
    ├── TimeLimitExceeded       a handler ran longer than its task allows
    └── TaskFailedError         a task ended in ERROR or CANCELED while somebody waited for its result

No message contains a password; URLs are masked (`agentexec.config.masked`).
"""

from __future__ import annotations

from uuid import UUID


class AgentexecError(Exception):
    """Base of every error of this package."""


class ConfigurationError(AgentexecError):
    """A setting is missing or contradicts another one; the message names it and says what to set."""


class UnsupportedServer(AgentexecError):
    """A server is too old; the message names the version found and the version needed."""


class RegistrationError(AgentexecError, TypeError):
    """A handler lacks the parameters or annotations that a task needs."""


class InvalidTask(AgentexecError, ValueError):
    """A task cannot be enqueued; nothing was written."""


class PayloadTooLarge(InvalidTask):
    """The context is larger than the queue takes; nothing was written."""


class QueueFull(AgentexecError):
    """The depth cap is reached. The activities are recorded as QUEUED and a pool dispatches them when there
    is room.
    """

    def __init__(self, agent_ids: list[UUID], cap: int) -> None:
        self.agent_ids = agent_ids
        self.cap = cap
        super().__init__(
            f"{len(agent_ids)} task(s) are recorded but wait for room: the queue holds its maximum of {cap} "
            "(AGENTEXEC_MAX_QUEUE_DEPTH). A running pool dispatches them as the queue drains; "
            "do not enqueue them again."
        )


class WorkerGone(AgentexecError):
    """The queue refuses this worker: its pool took it for dead and gave its leases to others."""


class TimeLimitExceeded(AgentexecError):
    """A handler ran longer than its soft or hard time limit; the attempt counts as failed."""


class TaskFailedError(AgentexecError):
    """A task that somebody waited for did not complete."""

    def __init__(self, *, task_name: str, agent_id: UUID, status: str, error: str, attempts: int) -> None:
        self.task_name = task_name
        self.agent_id = agent_id
        self.status = status
        self.error = error
        self.attempts = attempts
        super().__init__(
            f"Task {task_name} ({agent_id}) ended as {status} after {attempts} attempt(s): {error}"
        )
