"""What a chaos run is going to do, printed before anything is started."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from harness.cli.request import RunRequest
from harness.faults.base import PlannedFault
from harness.history.figures import counted
from harness.masking import one_line
from harness.scenario.run_plan import RunPlan
from harness.scenario.schedule import Schedule
from harness.workloads.generator import times


def plan_text(request: RunRequest) -> str:
    """The plan of each scenario: its tasks, its time, and each fault with the moment at which it strikes."""
    lines = [line for plan in request.plans for line in _lines(plan, request.asked.faults)]
    lines += [f"{one.name}: left out, it {why}" for one, why in request.left_out]
    total = sum(plan.seconds for plan in request.plans)
    scenarios = counted(len(request.plans), "scenario")
    end = f"{scenarios}, seed {request.seed}, at least {total:.0f} s; nothing was started."
    return "\n".join([*lines, end])


def _lines(plan: RunPlan, kept: Collection[int] | None) -> Iterator[str]:
    scenario = plan.scenario
    schedule = Schedule.of(scenario, seed=plan.seed, tasks=plan.tasks, faults=kept)
    due = times(schedule.arrivals)
    offered = counted(len(schedule.arrivals) + len(schedule.final), "task")
    yield (
        f"{scenario.name}: {offered} in {due[-1] if due else 0.0:.1f} s, {counted(len(schedule.faults), 'fault')}, "
        f"at least {plan.seconds:.0f} s, at most {scenario.timeout:.0f} s"
    )
    yield f"  {one_line(scenario.summary)}"
    yield from (f"  note: {note}" for note in plan.notes)
    gates = {arrival.task.gate: when for arrival, when in zip(schedule.arrivals, due, strict=True)}
    yield from (f"  {_strike(fault, gates)}" for fault in schedule.faults)
    yield ""


def _strike(planned: PlannedFault, gates: dict[str | None, float]) -> str:
    fault = planned.fault
    lasts = getattr(fault, "seconds", None)
    what = fault.name if lasts is None else f"{fault.name} for {lasts:g} s"
    if planned.moment is not None:
        return f"{planned.number}. at {planned.moment:.2f} s: {what}"
    when = gates.get(planned.gate)
    due = "" if when is None else f", which is due at {when:.2f} s"
    return f"{planned.number}. in the handler of {planned.gate.replace('-', ' ')}{due}: {what}"
