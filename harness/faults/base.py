"""Faults as frozen values: what a fault hits, how it is injected, and how it is healed.

`at` says where in the workload a fault strikes. The seed decides everything random about it beforehand
(`harness.scenario.schedule`), so that a seed repeats a schedule. `harness.faults.nemesis` carries the faults out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.environments.base import Environment
from harness.gate import GateKeeper
from harness.history import InjectionKind, Recorder
from harness.history.promises import Promises
from harness.llm.serving import Endpoint
from harness.targets.base import TargetSession
from harness.targets.pools import Pools, RunningPool
from harness.targets.producers import ProducerProcesses
from harness.wire import Wire


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultContext:
    """The parts of a run that a fault can affect.

    `patience` is how many seconds a fault waits for its victim, and how long its heal waits until the target recovers.
    `promises` are those of the target.
    `proxies` are those between the target and its servers, by service; the scenario names these in `proxied`.
    `producers` are processes that submit the tasks, if the scenario asks for them and the target can have them.
    `endpoint` is the LLM endpoint that the handlers call, if the scenario has one.
    `session` is that of the target, for what a fault asks of it. `witness` records evidence that a fault collects.
    """

    gates: GateKeeper
    pools: Pools
    patience: float = 10.0
    environment: Environment | None = None
    promises: Promises = field(default_factory=Promises)
    proxies: Mapping[str, Wire] = field(default_factory=dict)
    producers: ProducerProcesses | None = None
    endpoint: Endpoint | None = None
    session: TargetSession | None = None
    witness: Recorder | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """The victims of one injection: processes and their pool. `value` adds fields to the recorded operation.

    `found` is what the injection itself adds: what it saw of its effect. The operations after it have it too.
    """

    pids: tuple[int, ...]
    pool: RunningPool
    value: Mapping[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)


class Fault(Protocol):
    """One kind of failure, with its injection and its heal. Implementations are frozen values.

    An attribute `loss` (`harness.history.promises.Loss`) says what it takes from the system; a checker then asks only
    those systems that promise to survive it.
    An attribute `service` names the server that it strikes, `action` what a handler has to do for it at its gate, and
    `of_producer` is True if it kills a producer: a target without them is not asked (`harness.scenario.applicable`).
    Nor is any where a method `unmet` says why this machine cannot have the fault.
    """

    @property
    def name(self) -> str:
        """The name of its operations in the history, for example `kill-worker`."""
        ...

    @property
    def kind(self) -> InjectionKind:
        """What it does, as the history records it."""
        ...

    @property
    def at(self) -> float:
        """Where in the workload it strikes, from 0 (the first task) up to 1 (the last)."""
        ...

    @property
    def gated(self) -> bool:
        """True if it strikes while the task at `at` waits at its gate, False if it strikes at a random moment."""
        ...

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """Choose the victims and change nothing; raises `GateError` if none appears within the patience."""
        ...

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Inject the fault without delay: the operation in the history carries the time of this call.

        Raises `GateError` if the fault had nothing to strike; the history then records that it failed.
        """
        ...

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Heal the fault; returns once the target can recover, or after `context.patience` seconds."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFault:
    """A fault with what the seed decided about it.

    `moment` is in seconds since the start of the workload; it is None for a gated fault, which waits for a handler at
    `gate`, from `due` on: then its task is submitted. `draw`, a number in [0, 1), chooses among possible victims.
    """

    number: int
    fault: Fault
    gate: str
    moment: float | None
    draw: float
    due: float = 0.0
