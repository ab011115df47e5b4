"""The errors that agentexec raises, and checks of the types of arguments.

No message contains a password: URLs are masked (`agentexec.masking`), and a check names types only, never values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from types import CoroutineType
from typing import Any
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


class TimeLimitExceeded(AgentexecError, TimeoutError):
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


def require(
    value: Any, kinds: Any, what: str, remedy: str, *, error: type[AgentexecError] = WrongArgument
) -> None:
    """Raise `error` unless the value is one of `kinds`, as `isinstance` takes them.

    The sentence begins with `what`, such as "A name is text", and ends with `remedy`.
    """
    if not isinstance(value, kinds):
        raise error(f"{what}, not {_named(value)}; {remedy}.")


def require_none(others: tuple[Any, ...], name: str) -> None:
    """Raise `ConfigurationError` for arguments that are given by position and have to be named."""
    if others:
        raise ConfigurationError(f"{name} takes its arguments by name; write {name}(database_url=...).")


def checked_number(
    value: Any, what: str, remedy: str, *, error: type[AgentexecError] = WrongArgument
) -> float:
    """`require` for a number, which is returned as an int or a float: no clock adds seconds to a `Decimal`.

    A bool is no number. What no float holds is infinite or not a number.
    """
    if isinstance(value, bool):
        raise error(f"{what}, not bool; {remedy}.")
    require(value, (Real, Decimal), what, remedy, error=error)
    if type(value) is int or type(value) is float:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a signaling NaN
        return math.nan


def require_list(value: Any, what: str, remedy: str, *, error: type[AgentexecError] = WrongArgument) -> None:
    """`require` for something with items; text, a dict and a pydantic model are none."""
    # Here, since these errors are also those of a command that needs no pydantic.
    from pydantic import BaseModel

    if isinstance(value, str | bytes | Mapping | BaseModel):
        raise error(f"{what}, not {type(value).__name__}; {remedy}.")
    require(value, Iterable, what, remedy, error=error)


def require_metadata(value: Any, owner: str) -> None:
    """`require` for metadata, which are a dict or None."""
    require(value, (Mapping, type(None)), f"The metadata of {owner} are a dict", "pass key=value pairs")


def whole_percentage(percentage: Any) -> int | None:
    """The percentage without its fraction, which the log cannot store; None for None.

    Raises `WrongArgument` unless it is a number or None, ValueError unless it is from 0 to 100.
    """
    if percentage is None:
        return None
    number = checked_number(percentage, "percentage is a number", "give one from 0 to 100")
    if not 0 <= number <= 100:
        raise ValueError(f"percentage is between 0 and 100, not {percentage}")
    return int(number)


def _named(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, CoroutineType):
        return "a coroutine that nothing awaits"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
