"""What an application does to its tasks while pools run: it cleans up, starts a service, migrates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.errors import GateError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.held_state import striking
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanUp:
    """The application removes tasks that ended more than `age` seconds ago, again and again for `seconds`."""

    at: float
    age: float = 0.2
    seconds: float = 2.0
    gated: bool = False
    name: str = "clean-up"
    kind: InjectionKind = InjectionKind.OTHER

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        pool = some_workers(context)[0]
        return Aim(pids=(), pool=pool, value={"age": self.age, "seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Call `clean_up` of the session; raises `GateError` if it has none, or if no task was removed."""
        clean_up = duty(context, "clean_up", "removes ended tasks that are older than some seconds")
        with striking(lambda: clean_up(self.age), "no task was old enough. Run this fault with more tasks."):
            time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the clean-up ends with the injection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartService:
    """A service of the application starts, again and again for `seconds`, and cancels the tasks it takes for lost."""

    at: float
    seconds: float = 2.0
    gated: bool = False
    name: str = "start-service"
    kind: InjectionKind = InjectionKind.OTHER

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0], value={"seconds": self.seconds})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Call `start_service` of the session; raises `GateError` if it has none, or if never a task was pending."""
        start = duty(context, "start_service", "does what a service of the application does at its start")
        session = context.session
        assert session is not None, "it has a duty"

        def begin() -> int:
            pending = session.unfinished()
            start()
            return pending

        with striking(begin, "no task was pending at any start. Run this fault with more tasks."):
            time.sleep(self.seconds)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the services are up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrateSchema:
    """The schema of the target is migrated to its newest revision, or back to the one before (`previous`)."""

    at: float
    previous: bool = False
    gated: bool = False
    name: str = "migrate-schema"
    kind: InjectionKind = InjectionKind.OTHER
    loss: Loss = Loss.DEPLOYMENT

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0], value={"previous": self.previous})

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Call `migrate` of the session; raises `GateError` if it has none, or if there was nothing to change."""
        migrate = duty(context, "migrate", "migrates its schema to the newest revision or to the one before")
        if not migrate(previous=self.previous):
            raise GateError("the schema had that revision already. Migrate it to another one before.")

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: both revisions serve."""


def duty(context: FaultContext, name: str, what: str) -> Callable[..., Any]:
    """An optional method of the target's session; raises `GateError` if it has none."""
    found: Callable[..., Any] | None = getattr(context.session, name, None)
    if found is None:
        raise GateError(f"the target has no such duty. Give its session a method `{name}` that {what}.")
    return found
