"""Simulates one plan and judges its history."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from agentexec.core import runtime
from harness.checkers import (
    cancels,
    causality,
    charges,
    delays,
    delivery,
    effects,
    evidence,
    fencing,
    keys,
    lock_order,
    locks,
    nothing_left,
    orphans,
    progress,
    protocol,
    results,
    transitions,
    witnesses,
)
from harness.checkers.base import Checker, CheckResult, Verdict, check_all
from harness.history import RUNNER, History, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.names import PROMISES
from harness.simulation.call_faults import CallPoint, Side
from harness.simulation.context import SimulationContext
from harness.simulation.evidence import collect_evidence, pending
from harness.simulation.interrupts import interrupts_between_events
from harness.simulation.nemesis import SimulatedNemesis
from harness.simulation.outcomes import planned_outcomes, unknown_as_valid
from harness.simulation.plan import MANY_CRASHES, Plan, Theme
from harness.simulation.plan_generator import plan_of
from harness.simulation.reach import SOMETIMES
from harness.simulation.reached_in_history import reached_in_history
from harness.simulation.recorded_texts import wrong_texts
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Scheduler
from harness.simulation.system import SimulatedSystem
from harness.simulation.themes import MAX_RETRIES, ends_within, more_checkers, settings_of
from harness.targets.promised import CANCELED_WITHIN_SECONDS, ORPHAN_LEASES, promises_of_reference

# All times are virtual seconds.
# No fault lasts longer than this after the last moment of the plan.
QUIET_AFTER = 12.0
# Every task must be finished within this time after `QUIET_AFTER`. A reconciliation takes a tenth of it.
PATIENCE = 60.0
POLL_EVERY = 0.25
STOP_WITHIN = 30.0
# A worker ends by itself within 5 s after its parent; it may be stalled for 4 s.
ORPHANS_END_WITHIN = 12.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A violation, with the name of the checker that found it and the kind of its first counterexample."""

    checker: str
    kind: str
    summary: str
    counterexamples: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationResult:
    """The result of a plan.

    `results` has the result of every checker by name, the most specific first. `seconds` are virtual. `trace` has
    readable lines (time, process, text) and is empty unless it was requested. `reached` are names of
    `harness.simulation.reach`, `cells` and `groups` those of `harness.simulation.coverage`.
    """

    plan: Plan
    history: History
    results: Mapping[str, CheckResult]
    injected: int
    seconds: float
    reached: frozenset[str] = frozenset()
    sides: Sequence[Side] = field(default=(), repr=False)
    cells: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    trace: tuple[tuple[int, str, str], ...] = field(default=(), repr=False)

    @property
    def points(self) -> Sequence[CallPoint]:
        """The sides of all calls until every task was finished."""
        return tuple(CallPoint(*side) for side in self.sides)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The violations in the order of the checkers."""
        return tuple(
            Finding(
                checker=name,
                kind=_kind(result),
                summary=result.summary,
                counterexamples=result.counterexamples,
            )
            for name, result in self.results.items()
            if result.verdict is not Verdict.VALID
        )


class Diversion(NamedTuple):
    """A virtual time in nanoseconds from which on a run draws the random numbers of another seed."""

    at: int
    seed: int


def simulate(
    what: Plan | int, *, trace: bool = False, diversion: Diversion | None = None
) -> SimulationResult:
    """Run a plan, or the plan of a seed, to its end and judge it.

    It runs in the calling thread, without real waiting; only one may run at a time. With `trace` the result has a
    readable line for every event.
    """
    plan = plan_of(what) if isinstance(what, int) else what
    scheduler = Scheduler(plan.seed)
    if diversion is not None:
        scheduler.divert(*diversion)
    with _quiet(), interrupts_between_events(scheduler):
        return _Simulation(plan, scheduler, trace).execute()


def checkers_of(plan: Plan) -> dict[str, Checker]:
    """The checkers of a simulated run, by name."""
    lease = settings_of(plan.theme, plan.workers, plan.hosts).lease_seconds
    return {
        "evidence": evidence(),
        "delivery": delivery(allow_errors=True),
        "transitions": transitions(),
        "fencing": fencing(),
        "protocol": protocol(),
        "queue": nothing_left(),
        "witnesses": witnesses(),
        "causality": causality(),
        "effects": effects(minimum=0),
        "progress": progress(minimum=0),
        "locks": locks(minimum=0),
        "lock_order": unknown_as_valid(lock_order()),
        "results": unknown_as_valid(results()),
        "cancels": unknown_as_valid(cancels(CANCELED_WITHIN_SECONDS)),
        "keys": unknown_as_valid(keys()),
        "orphans": orphans(ORPHAN_LEASES * lease),
        "charges": charges(),
        "delays": unknown_as_valid(delays()),
        "outcomes": planned_outcomes(plan, retries=MAX_RETRIES, crashes_end=plan.max_crashes < MANY_CRASHES),
        **more_checkers(plan.theme),
    }


class _Simulation:
    def __init__(self, plan: Plan, scheduler: Scheduler, trace: bool) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._trace = trace

    def execute(self) -> SimulationResult:
        virtual = VirtualRuntime(self._scheduler)
        with runtime.use(virtual):
            system = SimulatedSystem(SimulationContext(self._plan, virtual))
            if self._trace:
                system.context.recorder.trace = []
            with system.context.postgres.open(), system.served():
                try:
                    return self._run(system)
                finally:
                    virtual.scheduler.unwind_all(virtual.processes)

    def _run(self, system: SimulatedSystem) -> SimulationResult:
        context = system.context
        nemesis = SimulatedNemesis(system)
        # How long a lease lasts decides what a stall of a worker may have caused.
        made = replace(
            promises_of_reference(context.settings.lease_seconds), retry_pauses=None
        )  # a theme has its own
        context.recorder.record(RUNNER, OperationType.INFO, PROMISES, **made.to_value())
        for _ in range(context.plan.pools):
            system.start_pool()
        nemesis.schedule()
        finished = self._drain(system, nemesis)
        sides = tuple(context.call_faults.sides)
        seconds = context.runtime.monotonic()
        late = _late(context, nemesis, seconds, finished=finished)
        operations, now = context.recorder.operations, context.runtime.scheduler.now
        redis = context.redis
        released = [*redis.deaths.late(operations, now), *redis.refused_ends.kept(operations)]
        released += redis.silence.kept(operations, now) if redis.silence is not None else ()
        for pool in system.living_pools():
            pool.kill() if pool.frozen else pool.terminate()
        self._run_until(context, STOP_WITHIN, lambda: not system.living_pools())
        if not self._run_until(context, ORPHANS_END_WITHIN, lambda: not system.orphans()):
            late = [*late, f"orphans: {len(system.orphans())} workers outlive their pools"]
        stored = collect_evidence(context)
        by_hand = system.service.by_hand if system.service is not None else ()
        texts = [*wrong_texts(context, stored, by_hand)]
        history = History.of(context.recorder.operations)
        return SimulationResult(
            plan=context.plan,
            history=history,
            results=self._results(context, history, late=late, released=released, texts=texts),
            injected=nemesis.injected,
            seconds=seconds,
            reached=frozenset(SOMETIMES.keys() & (context.reached | reached_in_history(history))),
            sides=sides,
            cells=frozenset(context.cells.cells),
            groups=frozenset(context.cells.groups),
            trace=tuple(context.recorder.trace or ()),
        )

    def _drain(self, system: SimulatedSystem, nemesis: SimulatedNemesis) -> bool:
        """Run the plan, wait until every task is finished and every fault is over; False if that takes too long."""
        context = system.context
        context.runtime.scheduler.run(round(context.plan.last_moment * NANOSECONDS))

        def over() -> bool:  # a request may be late that changes something
            return context.runtime.monotonic() > nemesis.quiet_from and _is_finished(system)

        return self._run_until(context, QUIET_AFTER + PATIENCE, over)

    def _run_until(self, context: SimulationContext, seconds: float, condition: Callable[[], bool]) -> bool:
        scheduler = context.runtime.scheduler
        deadline = scheduler.seconds(seconds)
        while not condition():
            if scheduler.now >= deadline:
                return False
            scheduler.run(scheduler.seconds(POLL_EVERY))
        return True

    def _results(
        self,
        context: SimulationContext,
        history: History,
        *,
        late: Sequence[str],
        released: Sequence[str],
        texts: Sequence[str],
    ) -> dict[str, CheckResult]:
        """The results of all checkers, the most specific first."""
        escaped = [
            f"{type(error).__name__} in {process.name if process else 'the scheduler'}: {error}"
            for process, error in context.runtime.scheduler.escaped
        ]
        return {
            "invariants": _result(
                [
                    *context.monitor.findings,
                    *context.redis.calls.findings,
                    *context.store_probes.tokens.findings,
                ],
                "the invariants of the queue held after every call",
            ),
            "escaped": _result(escaped, "every exception was handled"),
            **check_all(checkers_of(context.plan), history),
            "texts": _result(texts, "each record says how it ended"),
            "promptness": _result(
                [*context.redis.promptness.late(context.recorder.operations), *released],
                "claimed tasks began at once, and dead workers were released at once",
            ),
            "liveness": _result(late, "every task was finished in time"),
        }


def _result(wrong: Sequence[str], otherwise: str) -> CheckResult:
    return CheckResult(
        verdict=Verdict.INVALID if wrong else Verdict.VALID,
        summary=wrong[0] if wrong else otherwise,
        counterexamples=tuple({"kind": one.split(": ")[0], "why": one} for one in wrong),
    )


def _kind(result: CheckResult) -> str:
    if result.verdict is Verdict.UNKNOWN or not result.counterexamples:
        return str(result.verdict)
    return str(result.counterexamples[0].get("kind", "wrong"))


def _late(
    context: SimulationContext, nemesis: SimulatedNemesis, seconds: float, *, finished: bool
) -> Sequence[str]:
    """Why the last task ended too late, if it did: `seconds` is when."""
    if not finished:
        return [f"unfinished tasks after {PATIENCE:g} quiet seconds"]
    if context.plan.theme is not Theme.FROZEN:
        return []
    quiet = max(nemesis.quiet_from, context.last_answer)
    bound = ends_within(context.plan, context.settings) + context.postgres.longest_wait
    if seconds <= quiet + bound:
        return []
    return [
        f"late: the last task ended {seconds - quiet:.1f} s after the last fault, {bound:.1f} s are allowed"
    ]


def _is_finished(system: SimulatedSystem) -> bool:
    if not system.all_submitted:
        return False
    depth = system.context.redis.memory.depth()
    if depth.known != depth.dead:
        return False
    with system.context.postgres.transaction() as connection:
        return pending(connection) == 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log, and collect no garbage, which would cost a tenth of the run time."""
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
