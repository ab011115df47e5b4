"""The program of a producer process.

It opens the target that the first line of its standard input names, and answers calls as the client of an adapter does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from harness.environments.base import Endpoints
from harness.errors import FOREIGN_ERRORS, describe_error
from harness.scenario import registry
from harness.targets.base import OperatorAction, TargetSession, TargetSettings, TaskSpec


class _ProducerCalls:
    """The calls that the process answers."""

    def __init__(self) -> None:
        self._session: TargetSession | None = None

    def open(self, target: str, endpoints: dict[str, Any], settings: dict[str, Any]) -> None:
        paths = {name: Path(settings[name]) for name in ("folder", "history")}
        given = TargetSettings(**{**settings, **paths, "versions": tuple(settings["versions"])})
        self._session = registry.target(target).open(Endpoints(**endpoints), given)

    def submit(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._session is not None
        return [asdict(one) for one in self._session.submit([TaskSpec(**task) for task in tasks])]

    def cancel(self, activities: list[str]) -> None:
        cancel: Callable[[Sequence[str]], object] = getattr(self._session, "cancel")  # noqa: B009 - not of the protocol
        cancel(activities)

    def operate(self, action: str, activities: list[str]) -> None:
        operate: Callable[..., object] = getattr(self._session, "operate")  # noqa: B009 - as above
        operate(OperatorAction(action), activities)


def _serve(requests: IO[str], answers: IO[str]) -> None:
    calls = _ProducerCalls()
    for line in requests:
        request = json.loads(line)
        number, name = request.pop("id"), request.pop("call")
        try:
            answer = {"id": number, "result": getattr(calls, name)(**request)}
        except FOREIGN_ERRORS as error:
            answer = {"id": number, "error": describe_error(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    own_output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not break the protocol
    _serve(sys.stdin, own_output)
    os._exit(0)  # without the removal of the data, which belong to another session
