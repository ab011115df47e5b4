"""Which checkers a run asks: those of what the system under test promises.

A promise that is broken is INVALID and quotes the documentation of the system. What is promised and not shown is
UNKNOWN. What is not promised is NOT ASKED, and the verdict of the run does not depend on it. After a loss that the
system does not promise to survive, only that is judged which does not depend on the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.checkers.base import CheckResult, Verdict, check_safe
from harness.checkers.recovery import never_began_again, resumption
from harness.history import History
from harness.history.promises import DeliveryMode, Loss, Promises, SigtermPromise, losses, promises
from harness.history.resumptions import promised_resumptions

ASKED = "asked"
"""The name of the result that says that a run asked nothing but side checks."""

SIDE_CHECKS = frozenset(
    {"evidence", "faults", "availability", "causality", "exits", "evictions", "steady", "memory"}
)
"""Checkers that say nothing about what became of the tasks: alone they are no verdict about a system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """What a checker asks: whether that is promised for these losses, and the names of the promises.

    `independent` gives what is wrong all the same if it is not promised; None if nothing is.
    """

    promised: Callable[[Promises, frozenset[Loss]], bool]
    names: tuple[str, ...]
    wanted: str
    independent: Callable[[CheckResult, History], CheckResult | None] | None = None


def _field(name: str, wanted: str) -> _Question:
    return _Question(promised=lambda made, _: bool(getattr(made, name)), names=(name,), wanted=wanted)


def _left_behind(*names: str, wanted: str) -> _Question:
    """A question about what a run leaves in store and queue: a loss that is not survived may leave anything there."""
    return _Question(
        promised=lambda made, taken: taken <= made.survives and all(getattr(made, name) for name in names),
        names=names,
        wanted=wanted,
    )


def _ends_tasks(made: Promises, taken: frozenset[Loss]) -> bool:
    # A pool that drains has no time-out that a task could outlive: such a stop is not asked, and any other one is.
    if made.sigterm is SigtermPromise.DRAINS:
        return Loss.SIGTERM_LATE not in taken or not taken.isdisjoint({Loss.SIGTERM, Loss.DEPLOYMENT})
    return made.sigterm is SigtermPromise.RELEASES


def _bounds_recovery(made: Promises, taken: frozenset[Loss]) -> bool:
    # Of several kills, the checker judges those with a promise, and what was decided before an unsurvived loss.
    return not taken.isdisjoint({Loss.WORKER_KILLED, Loss.POOL_KILLED} & made.recovers_within.keys())


def _independent_delivery(result: CheckResult, history: History) -> CheckResult | None:
    """The breaches that no loss explains: unexpected tasks, and those that were gone before an unsurvived loss."""
    if result.verdict is not Verdict.INVALID:
        return None
    gone = never_began_again(history)
    breaches = tuple(
        one
        for one in result.counterexamples
        if one.get("kind") == "unexpected"
        or (one.get("kind") in ("lost", "stuck", "unfinished") and one.get("task") in gone)
    )
    if not breaches:
        return None
    tasks = ", ".join(str(one["task"]) for one in breaches[:_NAMED])
    more = f" and {len(breaches) - _NAMED} more" if len(breaches) > _NAMED else ""
    summary = f"{result.summary}; no loss that the system does not survive explains task {tasks}{more}"
    return replace(result, summary=summary, counterexamples=breaches)


_NAMED = 5

_QUESTIONS: Mapping[str, _Question] = {
    "delivery": _Question(
        promised=lambda made, taken: taken <= made.survives,
        names=("survives", "delivery"),
        wanted="that every acknowledged task ends after {losses}",
        independent=_independent_delivery,
    ),
    "duplicates": _Question(
        promised=lambda made, _: made.duplicates or made.delivery is DeliveryMode.AT_MOST_ONCE,
        names=("duplicates", "delivery"),
        wanted="that only an interrupted task runs again",
    ),
    "recovery": _Question(
        promised=_bounds_recovery,
        names=("recovers_within",),
        wanted="a time until an interrupted task begins again after {losses}",
    ),
    "resumption": _Question(
        promised=lambda made, _: bool(made.recovers_within),
        names=("recovers_within",),
        wanted="a time until an interrupted task begins again",
    ),
    "steady": _Question(
        promised=lambda made, taken: made.steady_within is not None and taken <= made.survives,
        names=("steady_within",),
        wanted="a time until tasks start as before",
    ),
    "shutdown": _Question(
        promised=_ends_tasks,
        names=("sigterm",),
        wanted="that a pool ends its running tasks after SIGTERM",
    ),
    "transitions": _left_behind("log", wanted="a log of transitions after {losses}"),
    "protocol": _left_behind(
        "log", "fences", wanted="a log of transitions under fencing tokens after {losses}"
    ),
    "fencing": _field("fences", "fencing tokens"),
    "effects": _field("fences", "fencing tokens, under which an effect happens once"),
    "queue": _left_behind("queue", wanted="an empty queue after {losses}"),
    "exits": _field("exit_codes", "an exit code"),
    "witnesses": _left_behind(
        "records", "queue", wanted="records and a report of the queue's content that agree after {losses}"
    ),
    "poison": _Question(
        promised=lambda made, _: made.most_crashes is not None,
        names=("most_crashes",),
        wanted="that a task whose workers die of it becomes a dead letter",
    ),
    "locks": _field("locks", "lock keys"),
    "lock_order": _field("lock_order", "that the tasks of a lock key begin in order"),
    "priorities": _field("priorities", "priorities"),
    "progress": _field("progress", "progress entries"),
    "results": _field("results", "the result of the accepted run"),
    "delays": _field("delays", "that a delayed task waits"),
    "charges": _field("charges", "a count of failures"),
    "keys": _field("keys", "that submissions with one key are one task"),
    "orphans": _field("orphans_end_within", "a time in which a run ends that lost its token"),
    "cancels": _left_behind("cancels_within", wanted="a time in which a cancel comes true after {losses}"),
    "retries": _field("retry_pauses", "the pauses before retries"),
    "deadlocks": _field("deadlock_free", "a database without deadlocks"),
}


def as_promised(results: Mapping[str, CheckResult], history: History) -> dict[str, CheckResult]:
    """The results, with NOT ASKED for what is not promised, and the broken promise at each INVALID one.

    A history without recorded promises keeps its results. Promises that cannot be read are a result of their own,
    UNKNOWN. So is it if nothing but `SIDE_CHECKS` is asked. A promised recovery time after a loss that kills no worker
    adds the result `resumption`.
    """
    try:
        made, taken = promises(history), losses(history)
    except ValueError as error:
        return {**results, "promises": CheckResult(verdict=Verdict.UNKNOWN, summary=str(error))}
    if made is None:
        return dict(results)
    if promised_resumptions(history):
        results = {**results, "resumption": check_safe(resumption(), history)}
    judged = {name: _as_promised(name, result, made, taken, history) for name, result in results.items()}
    return {**judged, ASKED: _NOTHING} if _only_side_checks(judged) else judged


def unasked(results: Mapping[str, CheckResult]) -> str | None:
    """What a VALID verdict over these results leaves open, as in `delivery not asked: 3 lost`; None if nothing.

    Tasks whose records say error are named too: some systems end a task so whose worker was killed.
    """
    found = results.get("delivery")
    if found is None or found.verdict is not Verdict.NOT_ASKED:
        return None
    lost, stuck = found.figures.get("lost"), found.figures.get("stuck")
    counts = [] if lost is None else [f"{lost} lost"]
    counts += [f"{stuck} stuck"] if stuck else []
    counts += [f"{errored} errored"] if (errored := found.figures.get("errored")) else []
    return f"delivery not asked{': ' if counts else ''}{', '.join(counts)}"


def left_out(why: str) -> CheckResult:
    """The only result of a scenario that is left out, with the reason, as in `strikes redis, and x needs postgres`."""
    return CheckResult(verdict=Verdict.NOT_ASKED, summary=f"left out, it {why}")


_NOTHING = CheckResult(
    verdict=Verdict.UNKNOWN,
    summary="the system promises nothing that this run asks about its tasks; choose a fault that it does survive",
)


def _only_side_checks(results: Mapping[str, CheckResult]) -> bool:
    asked = {name for name, result in results.items() if result.verdict is not Verdict.NOT_ASKED}
    return asked <= SIDE_CHECKS and len(asked) < len(results)


def _as_promised(
    name: str, result: CheckResult, made: Promises, taken: frozenset[Loss], history: History
) -> CheckResult:
    question = _QUESTIONS.get(name)
    if question is None:
        return result
    if not question.promised(made, taken):
        if question.independent is not None and (kept := question.independent(result, history)) is not None:
            return kept
        unmet = ", ".join(sorted(taken - made.survives or taken)) or "no fault"
        wanted = question.wanted.format(losses=unmet)
        return replace(
            result,
            verdict=Verdict.NOT_ASKED,
            summary=f"the system does not promise {wanted}; {result.summary}",
        )
    if result.verdict is not Verdict.INVALID:
        return result
    names = (*sorted(taken), *question.names) if "survives" in question.names else question.names
    quoted = [made.quotes[one] for one in names if one in made.quotes]
    return replace(result, promise=quoted[0]) if quoted else result
