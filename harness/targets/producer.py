"""The producer of a run: a process of its own, so that it can be killed like any other."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.environments.base import Endpoints
from harness.targets.adapter_client import AdapterClient
from harness.targets.base import OperatorAction, Submission, TargetSettings, TaskSpec

# The program that answers its calls; it finds targets by name, which this layer does not.
_PROGRAM = "harness.scenario.producing"
_START_SECONDS = 60.0


class ProcessProducer:
    """The session of a target in a process of its own."""

    def __init__(
        self, target: str, endpoints: Endpoints, settings: TargetSettings, *, name: str = "producer"
    ) -> None:
        given = {
            "target": target,
            "endpoints": asdict(endpoints),
            "settings": {
                **asdict(settings),
                "folder": str(settings.folder),
                "history": str(settings.history),
            },
        }
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._client = AdapterClient(
            name,
            [sys.executable, "-m", _PROGRAM],
            environment={**os.environ, "PYTHONPATH": path},
            folder=settings.folder,
            log=settings.history / f"{name}.log",
            fork_server=settings.fork_server,
        )
        try:
            self._client.call("open", _START_SECONDS, **given)
        except BaseException:
            self.close()
            raise

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        answers = self._client.call("submit", tasks=[asdict(task) for task in tasks])
        return [Submission(**answer) for answer in answers]

    def cancel(self, activities: Sequence[str]) -> None:
        self._client.call("cancel", activities=list(activities))

    def operate(self, action: OperatorAction, activities: Sequence[str]) -> None:
        self._client.call("operate", action=action, activities=list(activities))

    def pids(self) -> list[int]:
        return self._client.pids()

    def close(self) -> None:
        # Its data belong to the session of the pool, which removes them.
        self._client.kill()
