"""Shrinks a failing plan: it removes faults, then tasks, then details of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.history.figures import counted
from harness.shrinking import cut
from harness.simulation.plan import MANY_CRASHES, HandlerEnd, HandlerForm, Plan, PlannedTask, SimulatedFault
from harness.simulation.simulation import SimulationResult, simulate

OTHER_SEEDS = 3
# The most simulated runs of one shrinking.
TRIES = 900


class Shrinker:
    """Searches for the smallest plan that still has the first finding of a failing run, by checker and kind.

    Delta debugging over the parts of a plan, greedy and deterministic: the same plan shrinks to the same plan.
    """

    def __init__(
        self, failing: SimulationResult, *, tries: int = TRIES, log: Callable[[str], None] = lambda _: None
    ) -> None:
        self._best = failing
        self._wanted = (failing.findings[0].checker, failing.findings[0].kind)
        self._left = tries
        self._log = log

    def shrink(self) -> SimulationResult:
        """The result of the smallest plan found; that of the given plan if it cannot be shrunk."""
        while self._left > 0 and any([*map(self._cut, ("faults", "tasks", "calls")), self._simplify()]):
            plan = self._best.plan
            self._log(
                f"{counted(len(plan.faults), 'fault')}, {counted(len(plan.tasks), 'task')}, "
                f"{counted(self._left, 'try')} left"
            )
        return self._best

    def _cut(self, part: str) -> bool:
        """Remove as many members of a part of the plan as possible, in ever smaller pieces."""
        members = getattr(self._best.plan, part)
        left = cut(members, lambda kept: self._still_fails(_with(self._best.plan, {part: tuple(kept)})))
        return len(left) < len(members)

    def _simplify(self) -> bool:
        """Try each simplification; a plan that still fails is the base of the next one."""
        improved = False
        for change in _simplifications(self._best.plan):
            plan = change(self._best.plan)
            improved |= plan != self._best.plan and self._still_fails(plan)
        return improved

    def _still_fails(self, plan: Plan) -> bool:
        if self._left <= 0:
            return False
        # Other seeds are tried too: removing a part changes the timing of the rest.
        for seed in (plan.seed, *range(OTHER_SEEDS)):
            self._left -= 1
            outcome = simulate(replace(plan, seed=seed))
            if self._wanted in ((finding.checker, finding.kind) for finding in outcome.findings):
                self._best = outcome
                return True
        return False


def _simplifications(plan: Plan) -> Iterator[Callable[[Plan], Plan]]:
    yield lambda plan: replace(plan, pools=1)
    yield lambda plan: replace(plan, hosts=1)
    yield lambda plan: replace(plan, workers=1)
    yield lambda plan: replace(plan, max_depth=0, max_crashes=MANY_CRASHES, tasks_per_worker=0)
    plainer: Sequence[dict[str, Any]]
    plainer = [
        {"failures": 0},
        {"progress": 0},
        {"lock": None},
        {"delay": 0.0},
        {"resend": 0.0},
        {"work": 0.0},
        {"burst": 0},
        {"conflict": 0.0},
        {"form": HandlerForm.COROUTINE, "end": HandlerEnd.RETURNS},
        {"level": 1},
    ]
    for index in range(len(plan.tasks)):
        yield from (_changing("tasks", index, change) for change in plainer)
    for index in range(len(plan.faults)):
        yield from (_changing("faults", index, change) for change in ({"skip": 0}, {"victim": 0}))


def _changing(part: str, index: int, change: dict[str, Any]) -> Callable[[Plan], Plan]:
    def changed(plan: Plan) -> Plan:
        members: tuple[PlannedTask | SimulatedFault, ...] = getattr(plan, part)
        if index >= len(members):
            return plan
        return _with(
            plan, {part: (*members[:index], replace(members[index], **change), *members[index + 1 :])}
        )

    return changed


def _with(plan: Plan, change: dict[str, Any]) -> Plan:
    return replace(plan, **change)
