"""One simulated run: a plan goes in, a history and what is wrong with it come out."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agentexec.core import runtime
from harness.checkers import (
    delivery,
    effects,
    evidence,
    fencing,
    locks,
    nothing_left,
    progress,
    transitions,
    witnesses,
)
from harness.checkers.base import Checker, CheckResult, Verdict, check_all
from harness.history import History
from harness.simulation.context import SimulationContext
from harness.simulation.drawing import plan_of
from harness.simulation.nemesis import SimulatedNemesis
from harness.simulation.outcomes import outcomes
from harness.simulation.plan import Plan
from harness.simulation.scheduler import NANOSECONDS, Scheduler
from harness.simulation.themes import MAX_RETRIES, more_checkers
from harness.simulation.witness import collect_evidence, pending
from harness.simulation.world import VirtualRuntime

QUIET_AFTER = 12.0  # virtual seconds past which no planned fault lasts
PATIENCE = 60.0  # virtual seconds more until everything has to be over; healing takes a tenth of it
LOOK_EVERY = 0.25
STOP_WITHIN = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that must not be. `judge` is the checker or the watcher that found it, `kind` its word for what it
    found.
    """

    judge: str
    kind: str
    summary: str
    counterexamples: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationResult:
    """What came of a plan. `results` has the word of every judge by its name, the most telling first; `seconds` are
    virtual; `trace` is for reading, and empty unless asked for.
    """

    plan: Plan
    history: History
    results: Mapping[str, CheckResult]
    injected: int
    seconds: float
    trace: tuple[tuple[int, str, str], ...] = field(default=(), repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, in the order of the judges; empty where nothing is."""
        return tuple(
            Finding(
                judge=name, kind=_kind(result), summary=result.summary, counterexamples=result.counterexamples
            )
            for name, result in self.results.items()
            if result.verdict is not Verdict.VALID
        )


def simulate(what: Plan | int, *, trace: bool = False) -> SimulationResult:
    """Run a plan, or the plan of a seed, to its end, and judge it. Nothing real is waited for, and nothing is left.

    Runs in the calling thread, one at a time. `trace` keeps a readable line of everything that happened.
    """
    plan = plan_of(what) if isinstance(what, int) else what
    with _quiet():
        return _Run(plan, trace).perform()


def checkers_of(plan: Plan) -> dict[str, Checker]:
    """Who judges a simulated run, by name."""
    return {
        "evidence": evidence(),
        "delivery": delivery(allow_errors=True),
        "transitions": transitions(),
        "fencing": fencing(),
        "queue": nothing_left(),
        "witnesses": witnesses(),
        "effects": effects(minimum=0),
        "progress": progress(minimum=0),
        "locks": locks(minimum=0),
        "outcomes": outcomes(plan, retries=MAX_RETRIES),
        **more_checkers(plan.theme),
    }


class _Run:
    def __init__(self, plan: Plan, trace: bool) -> None:
        self._plan = plan
        self._trace = trace

    def perform(self) -> SimulationResult:
        plan = self._plan
        world = VirtualRuntime(Scheduler(plan.seed))
        with runtime.use(world):
            stage = SimulationContext(plan, world)
            if self._trace:
                stage.recorder.trace = []
            with stage.postgres.open():
                try:
                    return self._play(stage)
                finally:
                    stage.runtime.scheduler.unwind_all(stage.runtime.processes)

    def _play(self, stage: SimulationContext) -> SimulationResult:
        nemesis = SimulatedNemesis(stage)
        for _ in range(stage.plan.pools):
            stage.start_pool()
        nemesis.arrange()
        over = self._drain(stage)
        seconds = stage.runtime.monotonic()
        for pool in stage.living_pools():
            pool.terminate()
        self._until(stage, STOP_WITHIN, lambda: not stage.living_pools())
        collect_evidence(stage)
        history = History.of(stage.recorder.operations)
        return SimulationResult(
            plan=stage.plan,
            history=history,
            results=self._results(stage, history, over),
            injected=nemesis.injected,
            seconds=seconds,
            trace=tuple(stage.recorder.trace or ()),
        )

    def _drain(self, stage: SimulationContext) -> bool:
        """Whether everything was over in time."""
        scheduler = stage.runtime.scheduler
        scheduler.run(round(stage.plan.last_moment * NANOSECONDS))
        return self._until(stage, QUIET_AFTER + PATIENCE, lambda: _is_over(stage))

    def _until(self, stage: SimulationContext, seconds: float, condition: Callable[[], bool]) -> bool:
        scheduler = stage.runtime.scheduler
        deadline = scheduler.seconds(seconds)
        while not condition():
            if scheduler.now >= deadline:
                return False
            scheduler.run(scheduler.seconds(LOOK_EVERY))
        return True

    def _results(self, stage: SimulationContext, history: History, over: bool) -> dict[str, CheckResult]:
        """The judges' words, the most telling first."""
        escaped = [
            f"{type(error).__name__} in {process.name if process else 'the world'}: {error}"
            for process, error in stage.runtime.scheduler.escaped
        ]
        left = [] if over else [f"not everything is over after {PATIENCE:g} quiet seconds"]
        return {
            "invariants": _said(stage.monitor.findings, "the queue's books were sound after every call"),
            "escaped": _said(escaped, "no thread let an exception through"),
            **check_all(checkers_of(stage.plan), history),
            "liveness": _said(left, "everything was over in time"),
        }


def _said(wrong: Sequence[str], otherwise: str) -> CheckResult:
    return CheckResult(
        verdict=Verdict.INVALID if wrong else Verdict.VALID,
        summary=wrong[0] if wrong else otherwise,
        counterexamples=tuple({"kind": one.split(": ")[0], "why": one} for one in wrong),
    )


def _kind(result: CheckResult) -> str:
    if result.verdict is Verdict.UNKNOWN or not result.counterexamples:
        return str(result.verdict)
    return str(result.counterexamples[0].get("kind", "wrong"))


def _is_over(stage: SimulationContext) -> bool:
    if not stage.all_asked:
        return False
    depth = stage.redis.memory.depth()
    if depth.known != depth.dead:
        return False
    with stage.postgres.transaction() as connection:
        return pending(connection) == 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Thousands of simulated faults are not for the log, and collecting garbage twice a run costs a tenth of it."""
    logger = logging.getLogger("agentexec")
    before, collecting = logger.level, gc.isenabled()
    logger.setLevel(logging.CRITICAL + 1)
    gc.disable()
    try:
        yield
    finally:
        logger.setLevel(before)
        if collecting:
            gc.enable()
