"""How the pools of one queue are set: kept in the queue, so that a pool that is set otherwise says so.

Two pools that disagree on the number of retries dead-letter each other's tasks too early. The pool that started last is
believed, since it is how a roll-out changes a setting; `max_crashes`, which the queue's scripts apply, holds for all
pools at once from then on. The others are applied by each worker as its own pool was set.
"""

from __future__ import annotations

import logging

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.queue.protocol import Queue

# What decides the fate of a task that any of the pools may run.
SHARED = (
    "lease_seconds",
    "max_crashes",
    "max_queue_depth",
    "max_task_retries",
    "result_ttl",
    "retry_base_seconds",
    "retry_cap_seconds",
    "task_soft_time_limit",
    "task_time_limit",
)

_logger = logging.getLogger(__name__)


def shared(settings: Settings) -> dict[str, str]:
    """The settings that all pools of a queue should have alike, as text."""
    return {name: f"{getattr(settings, name):.15g}" for name in SHARED}


def agree(queue: Queue, settings: Settings) -> None:
    """Keep these settings in the queue. Where another pool had others and may still live, a warning names them all."""
    mine = shared(settings)
    others = queue.agree(mine)
    world = runtime.current()
    neighbours = any(not world.is_certainly_dead(identity) for identity in queue.registered().values())
    if others:
        differences = ", ".join(
            f"AGENTEXEC_{name.upper()} is {mine[name]} here and {value} there"
            for name, value in sorted(others.items())
        )
        _logger.log(
            logging.WARNING if neighbours else logging.INFO,
            "the pools of queue %s are set differently: %s. AGENTEXEC_MAX_CRASHES holds for all of them as it is here; "
            "give the others the same settings and restart them.",
            queue.name,
            differences,
        )
