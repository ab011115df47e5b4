"""Claims that only other pools can run: of tasks that this pool does not know, or knows with another model.

While the pools of one version are replaced by those of the next, both claim from one queue. A claim that this pool
cannot run goes back before its start is recorded, so it is no attempt. It fails here, with its reason, only after no
live pool has been able to run it for AGENTEXEC_UNKNOWN_TASK_SECONDS.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from agentexec.core import runtime
from agentexec.errors import InvalidTask
from agentexec.queue.protocol import Claim, Queue
from agentexec.task import Registry, decode_payload
from agentexec.worker.retrying import Retrying

# Seconds until a task that goes back falls due again, where a live pool can run it. At random between these, so that
# pools do not claim it in step.
BACK_AFTER = (0.5, 1.5)
# Names that the log has, at most: anything may be pushed into the queue.
MOST_LOGGED = 100

_logger = logging.getLogger(__name__)


class PoolMatch:
    """Tells the claims of one worker apart. A pool that knows all of its tasks makes no call for it."""

    def __init__(self, registry: Registry, queue: Queue, retrying: Retrying, limit: float) -> None:
        """`limit` is in seconds."""
        self._registry = registry
        self._queue = queue
        self._retrying = retrying
        self._limit = limit
        self._names = ""
        self._several_models: set[str] = set()  # tasks that pools know with different models
        self._logged: set[str] = set()

    def note(self, names: str) -> None:
        """Look which tasks pools know with different models, if the answer to a step has other `names`."""
        if names != self._names:
            known = self._retrying.until_done(self._queue.announced)
            self._several_models = {name for name, fingerprints in known.items() if len(fingerprints) > 1}
            self._names = names

    def hand_back(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Hand back the claims that only other pools can run; returns those that are to be started here."""
        unfit = {claim.task_id: (claim.token, *task) for claim in claims if (task := self._unfit(claim))}
        if not unfit:
            return claims
        delay = runtime.current().uniform(*BACK_AFTER)
        unknown, _ = self._retrying.until_done(
            lambda: self._queue.hand_back(unfit, limit=self._limit, delay=delay)
        )
        for task_id, (_, name, _) in unfit.items():
            if task_id in unknown:
                message = (
                    "no live pool has been able to run task %s (%.100r) for %g s; it becomes a dead letter"
                )
                _logger.error(message, task_id, name, self._limit)
            elif name not in self._logged and len(self._logged) < MOST_LOGGED:
                self._logged.add(name)
                message = "this pool cannot run task %s (%.100r); it is left to other pools"
                _logger.warning(message, task_id, name)
        return [claim for claim in claims if claim.task_id in unknown or claim.task_id not in unfit]

    def _unfit(self, claim: Claim) -> tuple[str, str] | None:
        """Name and fingerprint of a task that this pool cannot run; the fingerprint is empty if it does not know it."""
        try:
            name, context = decode_payload(claim.payload)
        except InvalidTask:  # the runner fails it with the reason
            return None
        definition = self._registry.get(name)
        if definition is None:
            return name, ""
        if name in self._several_models:
            try:
                definition.validate(context)
            except InvalidTask:
                return name, definition.fingerprint
        return None
