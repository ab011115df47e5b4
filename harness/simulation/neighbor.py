"""The passing run that is nearest to a failing one, and the first event that differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from harness.history.figures import counted, seconds
from harness.simulation.explain import Event, events
from harness.simulation.plan import Plan
from harness.simulation.simulation import Diversion, SimulationResult, simulate

# Other draws that are tried from one moment on, and plans without one part.
DIVERSIONS, PARTS = 5, 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """A passing run; `change` is how it differs from the failing one.

    The first `same` events of both are equal. `here` is the next one of the failing run, `there` that of the passing
    run; each is None if that run has no further event.
    """

    change: str
    same: int
    here: Event | None
    there: Event | None

    @property
    def text(self) -> str:
        """Three lines for people."""
        head = f"the nearest run that passes is that {self.change}; {counted(self.same, 'event')} are the same, then"
        return "\n".join([head, f"    here:  {_shown(self.here)}", f"    there: {_shown(self.there)}"])


def nearest_passing(failing: SimulationResult) -> Neighbor | None:
    """The passing run with the longest common beginning, None if no tried one passes.

    Tried are the same plan with other random numbers from some moment on (of these moments, a bisection finds a late
    one), and the plan without one of its parts. `failing` must have been simulated with `trace=True`.
    """
    mine = events(failing)
    passing = [*_diverted(failing.plan, mine), *_without_a_part(failing.plan)]
    return max((_compared(change, mine, events(one)) for change, one in passing), key=_same, default=None)


def _diverted(plan: Plan, mine: Sequence[Event]) -> Iterator[tuple[str, SimulationResult]]:
    moments = sorted({at for at, _, _ in mine})
    first, end = 0, len(moments)
    while first < end:
        middle = (first + end) // 2
        passing = _with_other_draws(plan, moments[middle])
        if passing is None:
            end = middle
        else:
            yield f"with other random numbers from {seconds(moments[middle]):.4f} s on", passing
            first = middle + 1


def _with_other_draws(plan: Plan, at: int) -> SimulationResult | None:
    runs = (simulate(plan, trace=True, diversion=Diversion(at, seed)) for seed in range(DIVERSIONS))
    return next((one for one in runs if not one.findings), None)


def _without_a_part(plan: Plan) -> Iterator[tuple[str, SimulationResult]]:
    for change, smaller in islice(_smaller(plan), PARTS):
        outcome = simulate(smaller, trace=True)
        if not outcome.findings:
            yield change, outcome


def _smaller(plan: Plan) -> Iterator[tuple[str, Plan]]:
    for fault in plan.faults:
        kept = tuple(one for one in plan.faults if one is not fault)
        yield f"without the {fault.kind.value} at {fault.at:.3f} s", replace(plan, faults=kept)
    for call in plan.calls:
        others = tuple(one for one in plan.calls if one is not call)
        yield f"without the {call.kind.value} at {call.at:.3f} s", replace(plan, calls=others)
    for task in plan.tasks if len(plan.tasks) > 1 else ():
        yield (
            f"without task {task.number}",
            replace(plan, tasks=tuple(x for x in plan.tasks if x is not task)),
        )


def _compared(change: str, mine: Sequence[Event], its: Sequence[Event]) -> Neighbor:
    pairs = zip(mine, its, strict=False)
    same = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(mine), len(its)))
    here, there = (run[same] if same < len(run) else None for run in (mine, its))
    return Neighbor(change=change, same=same, here=here, there=there)


def _same(one: Neighbor) -> int:
    return one.same


def _shown(event: Event | None) -> str:
    return "nothing more" if event is None else f"{seconds(event[0]):.4f} s  {event[1]}  {event[2]}"
