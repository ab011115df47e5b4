"""The producer of a run: a process of its own, so that it can be killed like any other.

As a program it opens the target that the first line of its standard input names, and answers calls as the client of an
adapter does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from harness.environments.base import Endpoints
from harness.errors import FOREIGN_ERRORS, TargetFailed, describe_error
from harness.processes import descendants, is_alive, send
from harness.scenario import registry
from harness.targets.adapter import AdapterSession
from harness.targets.adapter_client import AdapterClient
from harness.targets.base import Submission, TargetSession, TargetSettings, TaskSpec

_START_SECONDS = 60.0


class LaneProducer(Protocol):
    """Submits and cancels tasks through the wires of the producer."""

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks together; raises `TargetFailed` if the producer ends before it answers."""
        ...

    def cancel(self, activities: Sequence[str]) -> None:
        """Cancel tasks; raises `TargetFailed`."""
        ...

    def pids(self) -> list[int]:
        """The processes that are alive, the oldest first."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class ClientOfAdapter:
    """The client process of an adapter as the producer."""

    def __init__(self, session: AdapterSession) -> None:
        self.session = session

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return self.session.submit(tasks)

    def cancel(self, activities: Sequence[str]) -> None:
        del activities
        raise TargetFailed("An adapter has no call that cancels. Leave the life `canceled` out.")

    def pids(self) -> list[int]:
        pid = self.session.client_pid
        return [pid, *descendants(pid)] if is_alive(pid) else []

    def close(self) -> None:
        # Its data belong to the session of the pool, which removes them.
        send([self.session.client_pid], signal.SIGKILL)
        self.session.kill()


class ProcessProducer:
    """The session of a target in a process of its own."""

    def __init__(self, target: str, endpoints: Endpoints, settings: TargetSettings) -> None:
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
            "producer",
            [sys.executable, "-m", "harness.crashpoints.producer"],
            environment={**os.environ, "PYTHONPATH": path},
            folder=settings.folder,
            log=settings.history / "producer.log",
        )
        try:
            self._client.call("open", _START_SECONDS, **given)
        except TargetFailed:
            self.close()
            raise

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        answers = self._client.call("submit", tasks=[asdict(task) for task in tasks])
        return [Submission(**answer) for answer in answers]

    def cancel(self, activities: Sequence[str]) -> None:
        self._client.call("cancel", activities=list(activities))

    def pids(self) -> list[int]:
        return [self._client.pid, *descendants(self._client.pid)] if is_alive(self._client.pid) else []

    def close(self) -> None:
        # Its data belong to the session of the pool, which removes them.
        send([self._client.pid] if is_alive(self._client.pid) else [], signal.SIGKILL)
        try:
            self._client.close()
        except TargetFailed:
            return


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
        cancel: Callable[[Sequence[str]], None] = getattr(self._session, "cancel")  # noqa: B009 - not of the protocol
        cancel(activities)


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
