"""The named events that the history of a simulated run shows."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from harness.history import History, InjectionKind, OperationType
from harness.history.faults import injected_faults
from harness.history.fields import task_of
from harness.history.figures import NANOSECONDS
from harness.history.names import RESULT
from harness.history.runs import Run, runs
from harness.simulation.handlers import FOR_GOOD, GIVES_UP, OVERDUE, TOO_LONG
from harness.simulation.plan import FaultKind, HandlerEnd
from harness.simulation.themes import MAX_RETRIES

TOGETHER = 0.02  # seconds


def reached_in_history(history: History) -> set[str]:
    """The names of all events of `harness.simulation.reach` that the history shows."""
    reached = _of_runs(history) | _of_submissions(history) | _of_faults(history) | _of_failures(history)
    if any(op.type is OperationType.FAIL for op in history.where("effect")):
        reached.add("effect-refused")
    if any(op.process == "client" for op in history.where(RESULT)):
        reached.add("result-read-by-client")
    return reached


def _of_failures(history: History) -> set[str]:
    """What handlers decided themselves, and which time limits ended them."""
    names = {
        GIVES_UP: "handler-gives-up",
        FOR_GOOD: "handler-raises-for-good",
        HandlerEnd.UNWRITABLE: "result-has-no-json",
        HandlerEnd.REFUSED: "result-is-refused",
        TOO_LONG: "soft-limit-ends-run",
    }
    why = {op.value.get("error") for op in history.where("run", OperationType.FAIL)}
    reached = {name for error, name in names.items() if error in why}
    return reached | ({"hard-limit-ends-worker"} if any(history.where(OVERDUE)) else set())


def _of_runs(history: History) -> set[str]:
    by_task: defaultdict[int, list[Run]] = defaultdict(list)
    for run in runs(history):
        by_task[run.task].append(run)
    reached = set()
    for ran in by_task.values():
        kinds = [run.ended.type if run.ended is not None else None for run in ran]
        if OperationType.INFO in kinds:
            reached.add("handler-stopped")
        if None in kinds[:-1]:
            reached.add("interrupted-task-runs-again")
        if OperationType.FAIL in kinds and kinds[-1] is OperationType.OK:
            reached.add("retry-succeeds")
        if kinds.count(OperationType.FAIL) > MAX_RETRIES:
            reached.add("retries-used-up")
        if kinds.count(OperationType.OK) > 1:
            reached.add("task-completes-twice")
        if len(ran) > MAX_RETRIES + 1:
            reached.add("fourth-attempt")
        ends = [(run.begun.time, run.ended.time) for run in ran if run.ended is not None]
        if any(begun < end for (_, end), (begun, _) in pairwise(ends)):
            reached.add("runs-overlap")
    return reached


def _of_submissions(history: History) -> set[str]:
    reached, answers = set(), dict[int, OperationType]()
    for op in history.where("enqueue"):
        before = answers.get(task_of(op))
        if op.type is OperationType.INVOKE:
            if before is OperationType.OK:
                reached.add("resent-after-reply")
            continue
        answers[task_of(op)] = op.type
        if op.type is not OperationType.OK:
            reached.add("enqueue-without-outcome" if op.type is OperationType.INFO else "enqueue-refused")
        elif before not in (None, OperationType.OK):
            reached.add("enqueue-succeeds-again")
    return reached


def _of_faults(history: History) -> set[str]:
    reached, stopped = set(), set[str | None]()
    faults = injected_faults(history)
    outages = [fault for fault in faults if fault.name == FaultKind.POSTGRES_AWAY]
    if any(two.start - one.start < TOGETHER * NANOSECONDS for one, two in pairwise(faults)):
        reached.add("faults-together")
    for fault in faults:
        if fault.kind is InjectionKind.STOP:
            stopped.add(fault.pool)
        elif fault.name == FaultKind.KILL_WORKER:
            if str(fault.injection.value["at"]).partition("/")[0] in stopped:
                reached.add("worker-killed-in-drain")
        elif fault.name == FaultKind.KILL_POOL and fault.pool in stopped:
            reached.add("pool-killed-in-drain")
        elif fault.kind is InjectionKind.DATA_LOSS and any(o.start <= fault.start < o.until for o in outages):
            reached.add("loss-while-postgres-is-away")
    return reached
