"""Faults as values, and the nemesis that carries them out.

A fault comes with its repair, and with a schedule: `at` says where in the workload it strikes. Everything random
about it is drawn beforehand from the seed (`plan`), so that a seed repeats a schedule. The nemesis aims, records what
it is about to hit, injects, and heals; what it injected it heals in the end, also when the run breaks down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from harness.environments.base import Environment
from harness.errors import GateError, HarnessError, UsageError
from harness.gate import GateKeeper
from harness.history import OperationType, Recorder
from harness.targets.pools import Pools, RunningPool
from harness.workloads.generator import GATE


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultContext:
    """What a fault can reach. `patience` is how many seconds it may wait for its moment or for its repair."""

    gates: GateKeeper
    pools: Pools
    patience: float = 10.0
    environment: Environment | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """What a fault is about to hit: processes, the pool they belong to, and more that belongs in the history."""

    pids: tuple[int, ...]
    pool: RunningPool
    value: Mapping[str, Any] = field(default_factory=dict)


class Fault(Protocol):
    """One thing that goes wrong, and how it is repaired. Implementations are frozen values."""

    @property
    def name(self) -> str:
        """What the history calls it: `kill-worker`, for example."""
        ...

    @property
    def at(self) -> float:
        """Where in the workload it strikes, from 0 (the first task) up to 1 (the last)."""
        ...

    @property
    def gated(self) -> bool:
        """True where it strikes when the task at `at` waits at its gate; else it strikes at a random moment."""
        ...

    def aim(self, world: FaultContext, planned: PlannedFault) -> Aim:
        """Choose the victim, waiting for it if need be; changes nothing yet."""
        ...

    def inject(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Do it, at once: the history says that it happened now."""
        ...

    def heal(self, world: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Repair what was done, so that the target can recover; returns when that is so, or patience is over."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFault:
    """A fault with what the seed decided about it.

    `moment` is in seconds since the start of the workload, None for a gated fault, which waits for a handler at `gate`;
    `draw` in [0, 1) chooses among victims.
    """

    number: int
    fault: Fault
    gate: str
    moment: float | None
    draw: float


def gated_numbers(faults: Sequence[Fault], tasks: int) -> frozenset[int]:
    """Numbers of the tasks that have to wait at a gate, of `tasks` that are submitted while there are faults.

    Raises `UsageError` where there are too few tasks for the faults.
    """
    numbers = [_number(fault, tasks) for fault in faults if fault.gated]
    if len(set(numbers)) < len(numbers):
        raise UsageError(
            f"{tasks} tasks are too few for the {len(faults)} faults of this scenario. "
            "Ask for more with --tasks, 200 say."
        )
    return frozenset(numbers)


def plan(faults: Sequence[Fault], *, seed: int, due: Sequence[float]) -> tuple[PlannedFault, ...]:
    """Decide everything random about the faults; `due` is when each task is submitted, in seconds.

    A fault at a random moment strikes between its own place and the next fault's (or the end), so the order stays.
    """
    draw = Random(f"{seed}/faults")  # noqa: S311 - a schedule, not a secret
    planned = []
    for index, fault in enumerate(faults):
        luck, victim = draw.random(), draw.random()
        later = faults[index + 1].at if index + 1 < len(faults) else 1.0
        start, end = _due(fault.at, due), _due(max(fault.at, later), due)
        planned.append(
            PlannedFault(
                number=index + 1,
                fault=fault,
                gate=GATE.format(number=_number(fault, len(due))),
                moment=None if fault.gated else start + luck * (end - start),
                draw=victim,
            )
        )
    return tuple(planned)


def _number(fault: Fault, tasks: int) -> int:
    return min(tasks, int(fault.at * tasks) + 1)


def _due(at: float, due: Sequence[float]) -> float:
    return due[min(len(due) - 1, int(at * len(due)))]


class Nemesis:
    """Carries out planned faults, one after another, and records each injection and each repair as `info`."""

    def __init__(self, world: FaultContext, recorder: Recorder, *, tell: Callable[[str], None]) -> None:
        self._world = world
        self._recorder = recorder
        self._tell = tell
        self._unhealed: list[tuple[PlannedFault, Aim]] = []
        self.missed: list[str] = []

    def run(self, planned: Sequence[PlannedFault], *, start: float, stop: threading.Event) -> None:
        """Inject and heal all of them; `start` is the workload's start by `time.monotonic`.

        Returns early once `stop` is set. A fault whose victim never comes is left out and told in `missed`: whether
        enough were injected is for a checker to say.
        """
        for fault in planned:
            if fault.moment is not None:
                stop.wait(max(0.0, start + fault.moment - time.monotonic()))
            if stop.is_set():
                return
            self._carry_out(fault, len(planned))

    def heal_all(self) -> None:
        """Heal whatever is still broken, newest first; every repair is tried, then the first failure is raised."""
        failures: list[HarnessError] = []
        while self._unhealed:
            try:
                self._heal(*self._unhealed.pop())
            except HarnessError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _carry_out(self, planned: PlannedFault, total: int) -> None:
        try:
            aim = planned.fault.aim(self._world, planned)
        except GateError as error:
            self._world.gates.open(planned.gate)
            self.missed.append(f"fault {planned.number} ({planned.fault.name}): {error}")
            return
        self._tell(f"fault {planned.number} of {total}: {planned.fault.name} {_names(aim)}")
        self._record(planned, aim, "inject")
        self._unhealed.append((planned, aim))
        planned.fault.inject(self._world, planned, aim)
        self._heal(*self._unhealed.pop())

    def _heal(self, planned: PlannedFault, aim: Aim) -> None:
        try:
            planned.fault.heal(self._world, planned, aim)
        finally:
            self._record(planned, aim, "heal")

    def _record(self, planned: PlannedFault, aim: Aim, phase: str) -> None:
        self._recorder.record(
            OperationType.INFO,
            planned.fault.name,
            fault=planned.number,
            phase=phase,
            pool=aim.pool.name,
            pids=list(aim.pids),
            **aim.value,
        )


def _names(aim: Aim) -> str:
    return f"{aim.pool.name} pid {', '.join(map(str, aim.pids))}"
