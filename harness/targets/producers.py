"""The producers of a run: processes that submit its tasks and can be killed, each behind wires of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from harness.environments.base import SERVICES, Endpoints, Service
from harness.errors import AdapterMistake, HarnessError
from harness.targets.base import Submission, TargetSession, TargetSettings, TaskSpec
from harness.targets.producer import ProcessProducer
from harness.wire import Wire

_NO_ANSWER = "its producer was killed before it answered"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProducerNeeds:
    """How many producers a run asks for, and the name by which they find the target (None: they cannot)."""

    number: int = 0
    target: str | None = None


def why_no_producer(target: object) -> str | None:
    """Why a target has no producer that can be killed, in its own words; None if it has."""
    why: str | None = getattr(target, "why_no_producer", None)
    return why


class RunningProducer:
    """One producer and its wires, by service. `is_killed` from the moment at which it is to be killed."""

    def __init__(self, name: str, target: str, endpoints: Endpoints, settings: TargetSettings) -> None:
        self.name = name
        self.is_killed = False
        with ExitStack() as undo:
            self.wires: dict[Service, Wire] = {
                service: undo.enter_context(closing(Wire(url, protocol=service)))
                for service in SERVICES
                if (url := endpoints.url(service))
            }
            urls = {service: wire.url for service, wire in self.wires.items()}
            self._given = (target, endpoints.replace(urls), settings)
            self._process = ProcessProducer(*self._given, name=name)
            self._open = undo.pop_all()

    def pids(self) -> list[int]:
        """Its processes that are alive."""
        return self._process.pids()

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks; the outcome of each is unknown if the producer is killed before it answers."""
        process = self._process
        try:
            return process.submit(tasks)
        except AdapterMistake:
            # Another process may have taken its place by now.
            if process is self._process and not self.is_killed:
                raise
            return [Submission(number=task.number, error=_NO_ANSWER) for task in tasks]

    def kill(self) -> None:
        """SIGKILL; returns once it has ended."""
        self.is_killed = True
        self._process.close()

    def restart(self) -> None:
        """Start it again if it was killed; returns once it accepts tasks. Raises `TargetFailed`."""
        if self.is_killed:
            self._process = ProcessProducer(*self._given, name=self.name)
            self.is_killed = False

    def close(self) -> None:
        """End it and its wires."""
        self.is_killed = True
        self._process.close()
        self._open.close()


class ProducerProcesses:
    """All producers of a run; they take the submissions in turn. Safe to use from any thread."""

    def __init__(self, needs: ProducerNeeds, endpoints: Endpoints, settings: TargetSettings) -> None:
        assert needs.target is not None, "it has a name"
        self.all: list[RunningProducer] = []
        self._turns = count()
        self._turn = threading.Lock()
        try:
            for one in range(1, needs.number + 1):
                self.all.append(RunningProducer(f"producer-{one}", needs.target, endpoints, settings))
        except BaseException:
            self.close()
            raise

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks by the next producer that is not killed; raises `HarnessError` if there is none."""
        with self._turn:
            turn = next(self._turns)
        for one in (self.all[(turn + further) % len(self.all)] for further in range(len(self.all))):
            if not one.is_killed:
                return one.submit(tasks)
        raise HarnessError(
            "Every producer is killed. Heal each one before the next, or ask for more producers."
        )

    def close(self) -> None:
        """End all of them."""
        for one in self.all:
            one.close()


class ProducedSession:
    """The session of a target whose tasks its `producers` submit."""

    def __init__(self, session: TargetSession, producers: ProducerProcesses) -> None:
        self._session = session
        self.producers = producers
        self.submit = producers.submit

    @classmethod
    def of(
        cls, session: TargetSession, needs: ProducerNeeds, endpoints: Endpoints, settings: TargetSettings
    ) -> Self:
        """Start the producers; closes the session if one does not start."""
        with ExitStack() as undo:
            undo.callback(session.close)
            found = cls(session, ProducerProcesses(needs, endpoints, settings))
            undo.pop_all()
        return found

    def close(self) -> None:
        """End the producers, and close the session."""
        try:
            self.producers.close()
        finally:
            self._session.close()

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the session."""
        return getattr(self._session, name)
