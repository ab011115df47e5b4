"""The workers of a Dramatiq application under test: its own actors, wrapped, on the servers of the run.

`dramatiq` imports this module. The broker keeps its middleware; the connections of the broker, and of the backends that
its middleware has, lead to the servers of the run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.base import imported
from harness.targets.applications.dramatiq import Ends, lead_to, put_on
from harness.targets.applications.dramatiq_rabbitmq import is_on_rabbitmq, lead_to_rabbitmq
from harness.targets.wrapped_handler import LABEL, WrappedRun

_processed = threading.local()
"""The message that this thread processes, until its actor begins."""


def wrapped(broker: Any) -> Any:
    """The broker on the servers of the run, with every actor wrapped that it has or gets."""
    lead_to(broker, settings.redis_url)
    if is_on_rabbitmq(broker):
        lead_to_rabbitmq(broker, settings.rabbitmq_url, settings.lease)
    put_on(broker, queue=settings.queue, lease=settings.lease)
    broker.add_middleware(_recorder(Ends.of(broker, url=settings.redis_url, queue=settings.queue)))
    return broker


def _recorder(ends: Ends) -> Any:
    base: Any = imported("dramatiq").Middleware

    class MessageRecorder(base):  # type: ignore[misc]  # the class of an installed Dramatiq
        """Records what happens to messages."""

        def after_declare_actor(self, _: Any, actor: Any) -> None:
            actor.fn = _wrapped_function(actor, ends)

        def after_worker_boot(self, *_: Any) -> None:
            body.say_hello()

        def before_process_message(self, _: Any, message: Any) -> None:
            _processed.message = message

        def after_process_message(
            self, _: Any, message: Any, *, exception: BaseException | None = None, **__: Any
        ) -> None:
            if exception is not None:
                note(ends, message, "error")

        def after_skip_message(self, _: Any, message: Any) -> None:
            note(ends, message, "canceled")

    return MessageRecorder()


def note(ends: Ends, message: Any, status: str) -> None:
    """Note how a message of the run ended. A later note replaces it, and so does a message that waits for a retry."""
    if LABEL in message.options:
        ends.note(str(message.message_id), status)


def _wrapped_function(actor: Any, ends: Ends) -> Callable[..., Any]:
    own = actor.fn

    @wraps(own)
    def run(*args: Any, **kwargs: Any) -> Any:
        message = vars(_processed).pop("message", None)
        if message is None:  # an actor that another one calls
            return own(*args, **kwargs)
        recorded = WrappedRun.of(
            message.options.get(LABEL),
            name=actor.actor_name,
            activity=str(message.message_id),
            attempt=int(message.options.get("retries", 0)) + 1,
        )
        result = recorded.call(lambda: own(*args, **kwargs))
        # An actor whose end cannot be noted fails, as one that cannot store its own result would.
        note(ends, message, "complete")
        return result

    return run


if ENV_APPLICATION in os.environ:
    broker = wrapped(own_application())
