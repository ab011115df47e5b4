"""Was every acknowledged task executed and recorded, and no task that was never submitted?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation, OperationType
from harness.history.ending import cut_short, drain, open_end
from harness.history.fields import activity_of, task_of, whole
from harness.history.figures import counted
from harness.history.names import CANCEL
from harness.history.promises import Loss, promises
from harness.history.runs import begun, failed_at_gate, returned
from harness.history.statuses import COMPLETE, FIRST, TERMINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """The outcome of every task, as sets of task numbers; after Jepsen's total-queue, for at-least-once delivery.

    By the client's evidence, each task that was `attempted` is one of
      acknowledged  at least one submission of it was `ok`
      unknown       none was, and at least one was `info` or never got an outcome
      refused       every submission of it certainly failed
    By the workers' evidence: `started` (a handler began), `executed` (a handler returned), `duplicated` (repeatedly).
    By the store's evidence: `completed`, `errored`, `canceled` (it has a record with that status).
    Concluded from these:
      lost          acknowledged, but gone from every store that could bring it back: the queue does not have it, and it
                    has no record, or one from which the system restores nothing; or its record says complete although
                    no handler returned. A system that promises no records lost what never returned
      stuck         acknowledged and still in a store, but not finished when nothing had moved for the patience of the
                    drain: its record is not terminal, or only the queue has it
      unfinished    would be lost or stuck, but the run ended too early to say so (`open_end`)
      pending       would be stuck, but is still queued in the record and in the queue, and that is allowed
      undecided     would be pending, but the history has no `queue` operation
      unexpected    started or recorded, although never attempted or certainly refused
      recovered     unknown, but executed and complete
    `lost`, `stuck`, `unfinished` and `unexpected` have the reason of each task. An unknown task is never lost and never
    counts as a success.
    """

    attempted: frozenset[int]
    acknowledged: frozenset[int]
    unknown: frozenset[int]
    refused: frozenset[int]
    started: frozenset[int]
    executed: frozenset[int]
    duplicated: frozenset[int]
    completed: frozenset[int]
    errored: frozenset[int]
    canceled: frozenset[int]
    lost: Mapping[int, str]
    stuck: Mapping[int, str]
    unfinished: Mapping[int, str]
    pending: frozenset[int]
    undecided: frozenset[int]
    unexpected: Mapping[int, str]
    recovered: frozenset[int]


@dataclass(kw_only=True, slots=True)
class _Outcomes:
    """Outcomes of submissions by task. They are counted, not matched with their requests: the order does not matter."""

    invoked: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    unsure: set[int] = field(default_factory=set)
    acknowledged: dict[int, set[str]] = field(default_factory=dict)

    @property
    def attempted(self) -> frozenset[int]:
        return frozenset({*self.invoked, *self.failed, *self.unsure, *self.acknowledged})

    @property
    def unknown(self) -> frozenset[int]:
        unanswered = {task for task, times in self.invoked.items() if times > self.failed[task]}
        return frozenset((unanswered | self.unsure) - self.acknowledged.keys())


Records = Mapping[int, Mapping[str, str]]
"""Per task, the status that the store has for each of its activities."""


WAITING = ("ready", "leased", "scheduled", "parked")
"""States of a task that still has to run. A queue without lock keys need not count `parked`."""


def account(history: History, *, allow_queued: bool = False) -> Delivery:
    """Sort every task of the history into the sets of `Delivery`, in time linear in its length."""
    return history.derive(_account_early if allow_queued else _account_drained)


def _account_early(history: History) -> Delivery:
    return _account(history, allow_queued=True)


def _account_drained(history: History) -> Delivery:
    return _account(history, allow_queued=False)


def _account(history: History, *, allow_queued: bool) -> Delivery:
    submitted = _outcomes(history)
    attempted, unknown = submitted.attempted, submitted.unknown
    refused = attempted - unknown - submitted.acknowledged.keys()
    executions = returned(history)
    others = map(task_of, history.where("run", OperationType.FAIL, OperationType.INFO))
    started = frozenset({*begun(history), *executions, *others})
    records = _records(history)
    completed, errored = (_with_status(records, status) for status in (COMPLETE, "error"))
    lost, missing, stuck = _without_end(submitted.acknowledged, records, executions.keys())
    if not _promises_records(history):
        missing, stuck, at_gate = _by_runs(history, missing, stuck, executions.keys())
        completed, errored = completed | executions.keys(), errored | at_gate
    missing, stuck = _by_store(history, submitted.acknowledged, missing, stuck)
    queued = {task for task, why in stuck.items() if why == _STILL_QUEUED} if allow_queued else set()
    pending, undecided = _pending(history, submitted.acknowledged, queued)
    stuck = {task: why for task, why in stuck.items() if task not in pending | undecided}
    unfinished: dict[int, str] = {}
    if cut_short(history) is not None:
        unfinished, missing, stuck = missing | stuck, {}, {}
    elif open_end(history) is not None:
        unfinished, stuck = stuck, {}
    return Delivery(
        attempted=attempted,
        acknowledged=frozenset(submitted.acknowledged),
        unknown=unknown,
        refused=refused,
        started=started,
        executed=frozenset(executions),
        duplicated=frozenset(task for task, times in executions.items() if times > 1),
        completed=completed,
        errored=errored,
        canceled=_with_status(records, "canceled"),
        lost=lost | missing,
        stuck=stuck,
        unfinished=unfinished,
        pending=pending,
        undecided=undecided,
        unexpected={
            task: "certainly refused" if task in refused else "never submitted"
            for task in sorted((started | records.keys()) - (attempted - refused))
        },
        recovered=unknown & executions.keys() & completed,
    )


@keeps_settings
def delivery(*, allow_queued: bool = False, allow_errors: bool = False) -> Checker:
    """No acknowledged task is lost or stuck and none is unexpected; the terms are those of `Delivery`.

    `allow_queued` excuses acknowledged tasks that are still queued at the end, both in the record and in the queue,
    and counts them as `pending`. It is only for scenarios that end before the drain: it cannot distinguish a task
    that waits from one that no worker will ever claim. `allow_errors` excuses terminal records that say error or
    canceled; a task that a client canceled may be canceled. UNKNOWN if nothing was submitted, if the store has no
    `record` (unless the system promises none), or if a task is `undecided` or `unfinished`. A task whose handler failed
    because the harness did not open its gate in time is not judged.
    """

    def check(history: History) -> CheckResult:
        found = account(history, allow_queued=allow_queued)
        if not found.attempted:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="nothing was submitted")
        figures = _figures(found)
        if lacks_records(history):
            summary = f"the store has no record of any of {counted(len(found.attempted), 'task')} submitted"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        unasked = found.canceled - {*map(task_of, history.where(CANCEL))}
        bad_ends = frozenset() if allow_errors else found.errored | unasked
        excused = bad_ends & failed_at_gate(history)
        errors = _errors(history)
        return CheckResult(
            verdict=Verdict.of(
                wrong=bool(found.lost or found.stuck or found.unexpected or bad_ends - excused),
                unsure=bool(found.undecided or found.unfinished or excused),
            ),
            summary=_summary(found, open_end(history) if found.unfinished else None, excused)
            + "".join(
                f"; task {task} raised {errors[task]}" for task in _first(errors.keys() & bad_ends - excused)
            ),
            figures=figures | _unjudged(found),
            counterexamples=explain(history, _examples(found, bad_ends, excused, errors)),
        )

    return check


_STILL_QUEUED = "acknowledged, but its record is still queued"
_NEVER_RETURNED = "acknowledged, but no handler returned"
_AT_GATE = "its handler failed, because the harness did not open its gate in time"
_SUMMARIZED = (
    *("acknowledged", "lost", "stuck", "unfinished", "unexpected", "errored", "canceled"),
    *("pending", "undecided", "unknown", "recovered", "duplicated"),
)


def lacks_records(history: History) -> bool:
    """Whether a system that promises records has none in the history: they may not have been read."""
    return _promises_records(history) and next(history.where("record"), None) is None


def _promises_records(history: History) -> bool:
    made = promises(history)
    return made is None or made.records


def _outcomes(history: History) -> _Outcomes:
    found = _Outcomes(
        invoked=Counter(map(task_of, history.where("enqueue", OperationType.INVOKE))),
        failed=Counter(map(task_of, history.where("enqueue", OperationType.FAIL))),
        unsure={*map(task_of, history.where("enqueue", OperationType.INFO))},
    )
    for op in history.where("enqueue", OperationType.OK):
        known = found.acknowledged.setdefault(task_of(op), set())
        if (activity := activity_of(op)) is not None:
            known.add(activity)
    return found


def _records(history: History) -> Records:
    records: dict[int, dict[str, str]] = {}
    for op in history.where("record"):
        records.setdefault(task_of(op), {})[str(activity_of(op))] = str(op.value.get("status"))
    return records


def _with_status(records: Records, status: str) -> frozenset[int]:
    return frozenset(task for task, activities in records.items() if status in activities.values())


def _without_end(
    acknowledged: Mapping[int, set[str]], records: Records, executed: Set[int]
) -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """Tasks that certainly are lost, those without a record, and those that are still pending, with the reasons."""
    lost, missing, pending = {}, {}, {}
    for task, activities in acknowledged.items():
        known = records.get(task, {})
        statuses = [known.get(activity) for activity in activities] if activities else list(known.values())
        open_ones = sorted({status for status in statuses if status is not None} - TERMINAL - {FIRST})
        if not statuses or None in statuses:
            other = "acknowledged as another activity than the one in the store's record"
            missing[task] = other if known else "acknowledged, but the store has no record of it"
        elif open_ones:
            pending[task] = f"acknowledged, but its record is still {open_ones[0]}"
        elif FIRST in statuses:
            pending[task] = _STILL_QUEUED
        elif COMPLETE in statuses and task not in executed:
            lost[task] = "recorded as complete, although no handler finished"
    return lost, missing, pending


def _by_runs(
    history: History, missing: dict[int, str], pending: dict[int, str], executed: Set[int]
) -> tuple[dict[int, str], dict[int, str], Set[int]]:
    """Both without the tasks that returned, for a system without records; and those that failed at their gates."""
    at_gate = missing.keys() & failed_at_gate(history) - executed
    return (
        dict.fromkeys(sorted(missing.keys() - executed - at_gate), _NEVER_RETURNED),
        {task: why for task, why in pending.items() if task not in executed},
        at_gate,
    )


def _by_store(
    history: History, acknowledged: Mapping[int, set[str]], missing: dict[int, str], pending: dict[int, str]
) -> tuple[dict[int, str], dict[int, str]]:
    """Divide tasks without a record, and tasks with a pending one, into those in no store and those in one.

    A record brings its task back only in a system that survives an emptied broker; a history without promises counts
    as one of such a system. Without a report of the queue, the number of unfinished tasks at the end of the drain says
    whether the queue holds those without a record.
    """
    reports = list(history.where("queue"))
    if not reports:
        left = drain(history)
        if left is None or left.unfinished - len(pending) < len(missing):
            return missing, pending
        return {}, pending | {
            task: f"{why}, and it still counts as unfinished" for task, why in missing.items()
        }
    made = promises(history)
    restored = pending if made is None or Loss.BROKER_EMPTIED in made.survives else {}
    asked = {task: f"{why}, and the queue does not hold it" for task, why in pending.items()} | missing
    asked = {task: why for task, why in asked.items() if task not in restored}
    held = _held(reports[-1], acknowledged, asked.keys(), others=len(restored))
    gone = {task: why for task, why in asked.items() if task not in held}
    in_queue = {task: f"{why}, and the queue still holds it" for task, why in missing.items()}
    return gone, {task: why for task, why in (pending | in_queue).items() if task not in gone}


def _held(
    report: Operation, acknowledged: Mapping[int, set[str]], tasks: Set[int], *, others: int
) -> Set[int]:
    """Those of the tasks that the queue still holds, beside `others` that it may hold too.

    A queue that reports only numbers holds either all of them or none, because it does not name them.
    """
    for name in ("held", "known"):
        if isinstance(named := report.value.get(name), list | tuple):
            ids = {str(one) for one in named}
            return {task for task in tasks if acknowledged[task] & ids}
    waiting = sum(whole(report, name) for name in WAITING if report.value.get(name) is not None)
    return frozenset(tasks if tasks and waiting - others >= len(tasks) else ())


def _pending(
    history: History, acknowledged: Mapping[int, set[str]], queued: Set[int]
) -> tuple[frozenset[int], frozenset[int]]:
    """The queued tasks that the queue still knows, and the tasks for which the history cannot show it."""
    reports = list(history.where("queue"))
    if not reports:
        return frozenset(), frozenset(queued)
    known = reports[-1].value.get("known")
    if isinstance(known, list | tuple):
        ids = {str(one) for one in known}
        held = {task for task in queued if acknowledged[task] and acknowledged[task] <= ids}
        return frozenset(held), frozenset()
    if not isinstance(known, int):
        return frozenset(), frozenset(queued)
    # If the queue reports only a number and it is too small, the missing tasks cannot be named: none is excused.
    return frozenset(queued if len(queued) <= known else ()), frozenset()


def _figures(found: Delivery) -> dict[str, float | int | None]:
    return {name: len(getattr(found, name)) for name in Delivery.__dataclass_fields__}


def _unjudged(found: Delivery) -> dict[str, float | int | None]:
    """None for the counts that a run with an open end does not show, unless some task is certainly lost."""
    if not found.unfinished:
        return {}
    return {"lost": len(found.lost) or None, "stuck": None}


def _summary(found: Delivery, why: str | None, excused: frozenset[int]) -> str:
    always = {"acknowledged", "lost"} if why is None else {"acknowledged"}
    counts = {name: len(getattr(found, name)) for name in _SUMMARIZED}
    text = ", ".join(f"{number} {name}" for name, number in counts.items() if number or name in always)
    if excused:
        text += f"; {len(excused)} ended badly because the harness did not open their gates in time"
    return text if why is None else f"{text}; the unfinished are not judged: {why}"


def _first(tasks: Set[int]) -> list[int]:
    return sorted(tasks)[:1]


def _errors(history: History) -> Mapping[int, str]:
    """By task, the last error that its handler raised."""
    failed = history.where("run", OperationType.FAIL)
    return {task_of(op): str(op.value["error"]) for op in failed if op.value.get("error")}


def _examples(
    found: Delivery, bad_ends: frozenset[int], excused: frozenset[int], errors: Mapping[int, str]
) -> Iterator[Counterexample]:
    """The breaches first, then the members of other sets that need attention."""
    for kind, tasks in (
        ("lost", found.lost),
        ("stuck", found.stuck),
        ("unexpected", found.unexpected),
        ("unfinished", found.unfinished),
    ):
        for task, why in sorted(tasks.items()):
            yield Counterexample(kind=kind, task=task, why=why)
    for task in sorted(bad_ends):
        raised = f"; its handler raised {errors[task]}" if task in errors else ""
        why = _AT_GATE if task in excused else f"its record says error or canceled{raised}"
        yield Counterexample(kind="ended badly", task=task, why=why)
    unsure = "its submission had an unknown outcome, and it"
    for kind, members, why in (
        ("undecided", found.undecided, "still queued in the record, and there is no report of the queue"),
        ("pending", found.pending, "still queued, as this scenario allows"),
        ("recovered", found.recovered, f"{unsure} completed"),
        ("unknown", found.unknown - found.recovered, f"{unsure} did not complete"),
    ):
        for task in sorted(members):
            yield Counterexample(kind=kind, task=task, why=why)
