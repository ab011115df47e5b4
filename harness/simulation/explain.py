"""A simulated run as lines of text: what each process did, when, and what the checkers found."""

from __future__ import annotations

from collections.abc import Iterator

from harness.history import Operation, OperationType
from harness.history.fields import task_of
from harness.history.figures import NANOSECONDS, counted, seconds
from harness.history.names import worker_name
from harness.simulation.runtime import EPOCH
from harness.simulation.simulation import SimulationResult

_RUN = {
    OperationType.INVOKE: "starts",
    OperationType.OK: "finishes",
    OperationType.FAIL: "fails in",
    OperationType.INFO: "is stopped in",
}
_ENQUEUE = {
    OperationType.INVOKE: "enqueues",
    OperationType.OK: "gets the acknowledgement of",
    OperationType.FAIL: "is refused",
    OperationType.INFO: "receives no outcome of",
}


Event = tuple[int, str, str]
"""The virtual time of an event in nanoseconds, the process, and what happened."""


def events(outcome: SimulationResult) -> list[Event]:
    """The events of a run in order of virtual time. It must have been simulated with `trace=True`."""
    found = sorted([*_of_history(outcome), *outcome.trace], key=lambda event: event[0])
    names = {worker_name(int(text.split()[-1])): who for _, who, text in outcome.trace if _is_start(text)}
    return [(at, names.get(who, who), text) for at, who, text in found]


def timeline(outcome: SimulationResult) -> str:
    """The `events` of a run as lines, after its plan and before its findings."""
    happened, plan = events(outcome), outcome.plan
    head = (
        f"seed {plan.seed}: {counted(plan.pools, 'pool')} of {counted(plan.workers, 'worker')}, "
        f"{counted(len(plan.tasks), 'task')}, "
        f"{counted(len(plan.faults), 'fault')}, {outcome.injected} of them injected; "
        f"{outcome.seconds:.1f} virtual seconds"
    )
    width = max((len(who) for _, who, _ in happened), default=0)
    lines = [f"{seconds(at):9.4f}  {who:<{width}}  {text}" for at, who, text in happened]
    found = [f"FOUND by {finding.checker}: {finding.summary}" for finding in outcome.findings]
    return "\n".join([head, "", *lines, "", *(found or ["no findings"])])


def _is_start(text: str) -> bool:
    return text.startswith("starts as pid ")


def _of_history(outcome: SimulationResult) -> Iterator[Event]:
    for op in outcome.history:
        if op.f == "run":
            attempt = f"attempt {op.value['attempt']} under {op.value['fence']}"
            yield op.time, op.process, f"{_RUN[op.type]} task {task_of(op)}, {attempt}"
        elif op.f == "enqueue":
            yield op.time, "client", f"{_ENQUEUE[op.type]} task {task_of(op)}"
        elif op.f == "transition":
            yield from _transition(op)


def _transition(op: Operation) -> Iterator[Event]:
    value = op.value
    at = round((float(value["at"]) - EPOCH) * NANOSECONDS)
    row = f"{value['status']} ({value['fence']}, {value['n']})"
    yield at, "postgres", f"task {task_of(op)} is {row}"
