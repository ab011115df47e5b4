"""agentexec behind a producer that acknowledges tasks before it stores them: a killed producer loses them.

`harness chaos run kill-producer --target tests.planted.buffering:TARGET`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from unittest.mock import patch
from uuid import UUID

from agentexec.identifiers import new_id
from agentexec.producer import client
from harness.environments.base import Endpoints
from harness.targets.agentexec_target import AgentexecSession, AgentexecTarget, opened
from harness.targets.base import Submission, TargetSettings, TaskSpec


class BufferingSession(AgentexecSession):
    """A session that answers first."""

    _storing = threading.Lock()

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        ids = [new_id() for _ in tasks]
        threading.Thread(target=self._store, args=(tasks, ids)).start()
        return [
            Submission(number=task.number, activity=str(one)) for task, one in zip(tasks, ids, strict=True)
        ]

    def _store(self, tasks: Sequence[TaskSpec], ids: Sequence[UUID]) -> None:
        with self._storing, patch.object(client, "new_id", iter(ids).__next__):
            super().submit(tasks)


class BufferingTarget(AgentexecTarget):
    """Its sessions buffer."""

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> BufferingSession:
        return opened(lambda: BufferingSession(endpoints, settings))


TARGET = BufferingTarget(name="buffering-producer")
