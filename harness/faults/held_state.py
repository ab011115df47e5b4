"""A fault that holds a server in a state for some seconds: full, busy, read-only, locked, without free connections.

The states are in `redis_states`, `postgres_states` and `deadlock_storm`. Each one is a context manager that ends its
state also after an error. If the harness itself dies, no state outlives its servers: the embedded ones and the
containers end with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from harness.environments.base import Endpoints, Service
from harness.errors import GateError, HarnessError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.lost_tasks import LostTasks
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss

_PAUSE_SECONDS = 0.1


class ServerState(Protocol):
    """A state in which a server can be held. Implementations are frozen values."""

    @property
    def name(self) -> str:
        """The name of the fault in the history."""
        ...

    @property
    def kind(self) -> InjectionKind:
        """What the state does to those who use the server."""
        ...

    @property
    def loss(self) -> Loss:
        """What the state takes from the system."""
        ...

    @property
    def service(self) -> Service:
        """The server that is in the state."""
        ...

    def held(self, endpoints: Endpoints) -> AbstractContextManager[dict[str, Any] | None]:
        """The server is in this state inside the context, which may give a dictionary for what it will have seen.

        Raises `HarnessError` if it refuses, `GateError` if the state cannot begin, and also at the end if the server
        says that it has hit no client.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldState:
    """Hold a server in a state for `seconds`."""

    state: ServerState
    at: float
    seconds: float = 1.5
    gated: bool = False

    @property
    def name(self) -> str:
        """That of the state."""
        return self.state.name

    @property
    def kind(self) -> InjectionKind:
        """That of the state."""
        return self.state.kind

    @property
    def loss(self) -> Loss:
        """That of the state."""
        return self.state.loss

    @property
    def service(self) -> Service:
        """That of the state."""
        return self.state.service

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0], value={"seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Hold the state; raises `HarnessError` if the run has no servers, or as the state does."""
        if context.environment is None:
            raise HarnessError("This run has no servers. Run it on a backend.")
        ask = getattr(context.session, "queued_tasks", None)
        tasks = LostTasks(ask) if ask is not None and self.kind is InjectionKind.DATA_LOSS else None
        with self.state.held(context.environment.endpoints) as seen:
            if tasks is None:
                time.sleep(self.seconds)
            else:
                tasks.watch(self.seconds)
        aim.found.update(**(seen or {}), **({} if tasks is None else tasks.found()))

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the state ends with the injection."""


def held(state: ServerState, *at: float, seconds: float = 1.5) -> tuple[HoldState, ...]:
    """One fault at each place `at`, each of which holds the state for `seconds`."""
    return tuple(HoldState(state=state, at=one, seconds=seconds) for one in at)


@contextmanager
def striking(strike: Callable[[], int], none_struck: str) -> Iterator[None]:
    """`repeated` for an action that returns how many clients it hit.

    Raises `GateError` with the sentence at the end if it hit none at all.
    """
    struck = 0

    def count() -> None:
        nonlocal struck
        struck += strike()

    with repeated(count):
        yield
    if not struck:
        raise GateError(none_struck)


@contextmanager
def repeated(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` once or more, with a pause, until the context ends; then raises what the action has raised."""
    stop, failures = threading.Event(), []

    def run() -> None:
        try:
            action()
            while not stop.wait(_PAUSE_SECONDS):
                action()
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread of the context
            failures.append(error)

    thread = threading.Thread(target=run, name="held-state", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
