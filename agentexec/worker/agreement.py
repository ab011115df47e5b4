"""The settings of the pools of one queue, kept in the queue, so that a pool with other settings reports it.

Two pools that disagree on the number of retries dead-letter each other's tasks too early. The pool that started last
takes precedence, since a roll-out changes a setting that way. The queue's scripts apply its `max_crashes` for all pools
at once; each worker applies the other settings as its own pool has them.
"""

from __future__ import annotations

import logging

from agentexec.config import Settings, variable
from agentexec.core import runtime
from agentexec.queue.protocol import Queue

# What decides about a task that any of the pools may run.
SHARED = (
    "lease_seconds", "max_crashes", "max_queue_depth", "max_task_retries", "result_ttl",
    "retry_base_seconds", "retry_cap_seconds", "task_soft_time_limit", "task_time_limit", "unknown_task_seconds",
)  # fmt: skip

_logger = logging.getLogger(__name__)


def shared(settings: Settings) -> dict[str, str]:
    """The settings that all pools of a queue should share, as text."""
    return {name: f"{getattr(settings, name):.15g}" for name in SHARED}


def agree(queue: Queue, settings: Settings) -> None:
    """Store these settings in the queue, and log those that differ from the previous pool's.

    The log entry is a warning if another pool may still be alive.
    """
    mine = shared(settings)
    others = queue.agree(mine)
    if not others:
        return
    neighbours = not all(map(runtime.current().is_certainly_dead, queue.registered().values()))
    differences = ", ".join(
        f"{variable(name)} is {mine[name]} here and {value} there" for name, value in sorted(others.items())
    )
    message = (
        "the pools of queue %s are set differently: %s. AGENTEXEC_MAX_CRASHES holds for all of them as it is here; "
        "give the others the same settings and restart them."
    )
    _logger.log(logging.WARNING if neighbours else logging.INFO, message, queue.name, differences)
