"""One queue serves one activity store: a worker of another one would dead-letter the tasks that it does not find."""

from __future__ import annotations

from agentexec.errors import ConfigurationError
from agentexec.queue.protocol import Queue


def adopt_queue(store: str | None, queue: Queue, *, force: bool = False) -> None:
    """Let the queue serve an activity store; nothing for a store without a name (`agentexec.store.installation`).

    Raises `ConfigurationError` if the queue serves another one and is in use, unless `force` is set.
    """
    other = None if store is None else queue.adopt(store, force=force)
    if other is not None:
        raise ConfigurationError(
            f"The queue {queue.name!r} of this Redis serves another activity store ({other}, not {store}) and is in "
            "use; give one of the two another AGENTEXEC_QUEUE_NAME, or, if the store has moved, run `agentexec queue "
            "adopt`."
        )
