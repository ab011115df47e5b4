"""Which checkers a run asks: those of what the system under test promises.

A promise that is broken is INVALID and quotes the documentation of the system. What is promised and not shown is
UNKNOWN. What is not promised is NOT ASKED, and the verdict of the run does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.checkers.base import CheckResult, Verdict
from harness.history import History
from harness.history.promises import DeliveryMode, Loss, Promises, SigtermPromise, losses, promises


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """What a checker asks: whether that is promised for these losses, and the names of the promises."""

    promised: Callable[[Promises, frozenset[Loss]], bool]
    names: tuple[str, ...]
    wanted: str


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
    killed = taken & {Loss.WORKER_KILLED, Loss.POOL_KILLED}
    return bool(killed) and killed <= made.recovers_within.keys() and taken - killed <= made.survives


_QUESTIONS: Mapping[str, _Question] = {
    "delivery": _Question(
        promised=lambda made, taken: taken <= made.survives,
        names=("survives", "delivery"),
        wanted="that every acknowledged task ends after {losses}",
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
    "shutdown": _Question(
        promised=_ends_tasks,
        names=("sigterm",),
        wanted="that a pool ends its running tasks after SIGTERM",
    ),
    "transitions": _left_behind("log", wanted="a log of transitions after {losses}"),
    "fencing": _field("fences", "fencing tokens"),
    "effects": _field("fences", "fencing tokens, under which an effect happens once"),
    "queue": _left_behind("queue", wanted="an empty queue after {losses}"),
    "exits": _field("exit_codes", "an exit code"),
    "witnesses": _left_behind(
        "records", "queue", wanted="records and a report of the queue's content that agree after {losses}"
    ),
    "locks": _field("locks", "lock keys"),
    "priorities": _field("priorities", "priorities"),
    "progress": _field("progress", "progress entries"),
    "deadlocks": _field("deadlock_free", "a database without deadlocks"),
}


def as_promised(results: Mapping[str, CheckResult], history: History) -> dict[str, CheckResult]:
    """The results, with NOT ASKED for what is not promised, and the broken promise at each INVALID one.

    A history without recorded promises keeps its results. Promises that cannot be read are a result of their own,
    UNKNOWN.
    """
    try:
        made, taken = promises(history), losses(history)
    except ValueError as error:
        return {**results, "promises": CheckResult(verdict=Verdict.UNKNOWN, summary=str(error))}
    if made is None:
        return dict(results)
    return {name: _as_promised(name, result, made, taken) for name, result in results.items()}


def _as_promised(name: str, result: CheckResult, made: Promises, taken: frozenset[Loss]) -> CheckResult:
    question = _QUESTIONS.get(name)
    if question is None:
        return result
    if not question.promised(made, taken):
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
