"""The errors that agentexec raises. No message contains a password: URLs are masked (`agentexec.masking`)."""

from __future__ import annotations

from uuid import UUID


class AgentexecError(Exception):
    """The base class of all errors of this package."""


class ConfigurationError(AgentexecError):
    """A setting is missing or wrong; the message names it and says what to set."""


class UnsupportedServer(AgentexecError):
    """A server is too old; the message names its version and the required one."""


class WrongArgument(AgentexecError, TypeError):
    """An argument has the wrong type; nothing was written."""


class RegistrationError(AgentexecError, TypeError):
    """A handler lacks parameters or annotations that a task needs, or its name is taken."""


class InvalidTask(AgentexecError, ValueError):
    """A task cannot be enqueued; nothing was written."""


class IdempotencyConflict(InvalidTask):
    """The idempotency key belongs to a task with another name or in another queue; nothing was written."""


class PayloadTooLarge(InvalidTask):
    """The context is larger than AGENTEXEC_MAX_PAYLOAD_BYTES; nothing was written."""


class QueueFull(AgentexecError):
    """The queue is at its maximum depth. The activities are QUEUED; a pool dispatches them when there is room."""

    def __init__(self, agent_ids: list[UUID], cap: int) -> None:
        self.agent_ids = agent_ids
        self.cap = cap
        super().__init__(
            f"{len(agent_ids)} task(s) are recorded but wait for room: the queue holds its maximum of {cap} "
            "(AGENTEXEC_MAX_QUEUE_DEPTH). A running pool dispatches them as the queue drains; "
            "do not enqueue them again."
        )


class WorkerGone(AgentexecError):
    """The queue refuses this worker: a pool declared it dead and released its leases."""


class TimeLimitExceeded(AgentexecError):
    """A handler ran longer than its soft or hard time limit; the attempt failed."""


class TaskFailedError(AgentexecError):
    """A task whose result was asked for ended as ERROR or CANCELED."""

    def __init__(self, *, task_name: str, agent_id: UUID, status: str, error: str, attempts: int) -> None:
        self.task_name = task_name
        self.agent_id = agent_id
        self.status = status
        self.error = error
        self.attempts = attempts
        super().__init__(
            f"Task {task_name} ({agent_id}) ended as {status} after {attempts} attempt(s): {error}"
        )
