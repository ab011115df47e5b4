"""What an application does to its tasks while pools run: it cleans up old ones, and a service of it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import GateError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.held_state import striking
from harness.faults.process import some_workers
from harness.history import InjectionKind


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
        clean_up = _duty(context, "clean_up", "removes ended tasks that are older than some seconds")
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
        start = _duty(context, "start_service", "does what a service of the application does at its start")
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


def _duty(context: FaultContext, name: str, what: str) -> Callable[..., int]:
    """An optional method of the target's session; raises `GateError` if it has none."""
    duty: Callable[..., int] | None = getattr(context.session, name, None)
    if duty is None:
        raise GateError(f"the target has no such duty. Give its session a method `{name}` that {what}.")
    return duty
