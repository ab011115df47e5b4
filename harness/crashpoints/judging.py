"""The verdict about one strike: the existing checkers, on the history of its tasks alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.checkers import (
    delivery,
    duplicates,
    effects,
    fencing,
    locks,
    nothing_left,
    recovery,
    transitions,
    witnesses,
)
from harness.checkers.asked import ASKED, SIDE_CHECKS, as_promised
from harness.checkers.base import Checker, CheckResult, Verdict, check_all
from harness.checkers.causality import causality
from harness.checkers.delivery import account
from harness.checkers.recovery import DEFAULT_P99
from harness.crashpoints.points import LOSSES, CrashRow, CrashStrike
from harness.history import History, Operation, OperationType
from harness.history.faults import killed_workers
from harness.history.fields import task_of
from harness.history.interruptions import interruptions
from harness.history.names import CHILD, NEMESIS, worker_name
from harness.history.promises import promises
from harness.history.runs import returned, runs

_OF_TASKS = frozenset({"enqueue", "run", "effect", "report", "transition", "record"})
# A pool of a lane has one worker, so a task waits for the start of another one.
_START_SECONDS = 6.0
# What only an empty queue can answer.
_OF_QUEUE = frozenset({"queue", "witnesses"})


@dataclass(frozen=True, kw_only=True, slots=True)
class StrikeRecord:
    """What is known of one strike: the numbers of its faults in its lane, its tasks, and operations that no file has.

    `may_end_badly`: the life cancels its task, or lets it die. `requeued`: what dies runs again as another activity, to
    a good end. `alone`: no task of another strike was unfinished at its end.
    """

    strike: CrashStrike
    faults: frozenset[int]
    tasks: frozenset[int]
    may_end_badly: bool
    requeued: bool = False
    alone: bool = True
    seconds: float = 0.0
    operations: tuple[Operation, ...] = field(default=())

    @property
    def losses(self) -> int:
        """How many strikes there are: the second one may fall while the system repairs what the first one broke."""
        return 1 if self.strike.first is None else 2


def history_of(record: StrikeRecord, lane: Sequence[Operation]) -> History:
    """The operations of a strike among those of its lane."""
    own, others = set[int](), set[int]()
    for operation in lane:
        if operation.process == NEMESIS:
            (own if operation.value.get("fault") in record.faults else others).update(operation.value["pids"])
    # Without the faults that killed them, the workers of other strikes would seem to be up.
    gone = {worker_name(pid) for pid in others - own}
    return History.of(
        operation for operation in (*lane, *record.operations) if _is_of(record, operation, gone)
    )


def _is_of(record: StrikeRecord, operation: Operation, gone: Collection[str]) -> bool:
    if operation.process == NEMESIS:
        return operation.value.get("fault") in record.faults
    if operation.f in _OF_TASKS:
        return operation.value.get("task") in record.tasks
    return operation.f != CHILD and operation.process not in gone


def judged(record: StrikeRecord, history: History) -> CrashRow:
    """The row of a strike that fell."""
    checkers: dict[str, Checker] = {
        "delivery": delivery(allow_errors=record.may_end_badly),
        # A strike excuses one more run of each task.
        "duplicates": duplicates(record.losses * len(record.tasks)),
        "transitions": transitions(),
        "fencing": fencing(),
        "effects": effects(),
        "locks": locks(minimum=0),
        **({"requeue": _completed} if record.requeued else {}),
        "queue": nothing_left(),
        "witnesses": witnesses(),
        "causality": causality(),
        "recovery": lambda found: recovery(record.losses * _bound(found))(_without_unrecorded_ends(found)),
    }
    left_out = {
        *(() if record.alone else _OF_QUEUE),
        *(() if interruptions(_without_unrecorded_ends(history)) else ("recovery",)),
    }
    asked = {name: one for name, one in checkers.items() if name not in left_out}
    results = as_promised(check_all(asked, history), history)
    if "recovery" in results and results["recovery"].verdict is Verdict.UNKNOWN:
        # The machine was too slow to say it, and the record says that the task is complete.
        del results["recovery"]
    unasked = results.pop(ASKED, None) is not None
    counting = {name: one for name, one in results.items() if not (unasked and name in SIDE_CHECKS)}
    verdict = (
        Verdict.NOT_ASKED
        if unasked and not _wrong(counting)
        else Verdict.combine(r.verdict for r in counting.values())
    )
    found = account(history)
    most = max((times for task, times in returned(history).items() if task in record.tasks), default=0)
    figures = {
        "lost": len(found.lost),
        "stuck": len(found.stuck),
        "duplicated": len(found.duplicated),
        "illegal": _figure(results, "transitions", "illegal"),
        "stale": _figure(results, "fencing", "breaches"),
    }
    bad = {name: one for name, one in counting.items() if one.verdict in (Verdict.INVALID, Verdict.UNKNOWN)}
    worst = sorted(bad.items(), key=lambda item: item[1].verdict is not Verdict.INVALID)
    errored = found.errored if not record.may_end_badly else frozenset()
    return CrashRow(
        strike=record.strike,
        verdict=verdict,
        outcome=_outcome(figures, errored, most, worst),
        why="; ".join(f"{name}: {one.summary}" for name, one in worst),
        runs=most,
        figures=figures,
        seconds=record.seconds,
    )


def _bound(history: History) -> float:
    """Seconds after which a task has to begin again: as promised, and the time in which its only worker is replaced."""
    made = promises(history)
    promised = 0.0 if made is None else made.recovery_after(LOSSES)
    return (promised or DEFAULT_P99) + _START_SECONDS


def _without_unrecorded_ends(history: History) -> History:
    """The history without the ends of runs in killed workers whose tasks had to begin again.

    Their results were lost with the worker, so the time until the task begins again counts as after any interruption.
    """
    killed = killed_workers(history)
    again = {run.task: run.begun.time for run in runs(history)}
    return History.of(
        operation
        for operation in history
        if not (
            operation.f == "run"
            and operation.type is OperationType.OK
            and operation.process in killed
            and again.get(task_of(operation), 0) > operation.time
        )
    )


def _completed(history: History) -> CheckResult:
    """Every task that was acknowledged has an activity that is complete."""
    found = account(history)
    bad = sorted(found.acknowledged - found.completed)
    return CheckResult(
        verdict=Verdict.of(wrong=bool(bad), unsure=False),
        summary=f"not complete: {bad}" if bad else "all are complete",
        figures={"incomplete": len(bad)},
    )


def _wrong(results: Mapping[str, CheckResult]) -> bool:
    return any(one.verdict is Verdict.INVALID for one in results.values())


def _figure(results: Mapping[str, CheckResult], checker: str, name: str) -> int:
    return int(results[checker].figures.get(name) or 0)


def _outcome(
    figures: Mapping[str, int],
    errored: frozenset[int],
    runs: int,
    worst: list[tuple[str, CheckResult]],
) -> str:
    """A word for the table: the worst that happened."""
    for name in ("lost", "stuck"):
        if figures[name]:
            return name
    if worst and worst[0][0] == "recovery":
        return "late"
    if errored:
        return "errored"
    for name in ("illegal", "stale"):
        if figures[name]:
            return name
    if worst:
        name, result = worst[0]
        return f"{name}?" if result.verdict is Verdict.UNKNOWN else name
    return "once" if runs <= 1 else f"ran {runs}x"
