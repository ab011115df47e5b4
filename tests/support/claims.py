"""Targets that promise to survive the loss of a tail and cannot: `lose-redis-tail` and `lose-postgres-tail` find them.

harness chaos run lose-redis-tail --target tests.support.claims:SAQ --tasks 120
harness chaos run lose-postgres-tail --target tests.support.claims:HASTY --tasks 120
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import event

from harness.environments.base import Endpoints
from harness.history.promises import Loss
from harness.targets.adapter import AdapterTarget, adapter
from harness.targets.agentexec_target import AgentexecSession, AgentexecTarget, opened
from harness.targets.base import TargetSettings


def claiming(name: str, *losses: Loss) -> AdapterTarget:
    """A shipped adapter whose system promises to survive these losses too."""
    file = adapter(name).file
    survives = file.promises.survives | set(losses)
    return AdapterTarget(replace(file, promises=replace(file.promises, survives=survives)))


class HastySession(AgentexecSession):
    """A producer whose commits do not wait for their flush."""

    def prepare(self) -> None:
        """Change the sessions of the producer alone; those of the pools stay as agentexec makes them."""
        event.listen(self._client._recording, "connect", _hurry)
        super().prepare()


@dataclass(frozen=True, kw_only=True, slots=True)
class HastyTarget(AgentexecTarget):
    """agentexec with `synchronous_commit = off` on the enqueue."""

    name: str = "hasty-agentexec"

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> AgentexecSession:
        """A session with this producer; raises `TargetFailed`."""
        return opened(lambda: HastySession(endpoints, settings))


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("SET synchronous_commit = off")
    connection.commit()


SAQ, ARQ, RQ = (claiming(name, Loss.BROKER_TAIL_LOST) for name in ("saq", "arq", "rq"))
HASTY = HastyTarget()
