"""Did each completed task take its effect outside exactly once?

A handler may run more than once. An effect outside of the system can still happen exactly once: the outside store keeps
the highest fencing token of each activity (the idempotency key) and refuses any lower token. The effect under the
highest token then stands, even if a paused worker resumes and tries its own effect again. The worker kit has such a
store (`effects`). Handlers record its answer: `effect` is `ok` if it was taken, `fail` if it was refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, OperationType
from harness.history.fields import subject_of, task_of, whole
from harness.history.figures import counted
from harness.history.records import completions, tasks


@dataclass(kw_only=True, slots=True)
class _Effects:
    task: int
    taken: dict[int, int] = field(default_factory=dict)  # by fence, the number of times
    refused: frozenset[int] = frozenset()


@keeps_settings
def effects(*, minimum: int = 1) -> Checker:
    """Effects, keyed by (activity, fence), were taken exactly once for each activity that completed.

    Claims: no effect is taken twice under one key. For a completed activity, the effect under the completing fence was
    taken (it is neither missing nor refused), and none under a higher fence, so this effect stands. Effects under lower
    fences are `superseded`, attempts that the outside store refused are `fenced_off`: both are expected. UNKNOWN if
    fewer than `minimum` activities had an effect. Does not claim that handlers which record no effect had none.
    """

    def check(history: History) -> CheckResult:
        found = _read(history)
        if len(found) < minimum:
            summary = f"{counted(len(found), 'activity')} had an effect, {minimum} are required"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        completed = completions(history)
        examples = [
            example
            for name, one in found.items()
            for example in _breaches(one, completed.get(name, frozenset()))
        ]
        examples += _missing(completed, found, history)
        figures = _figures(found, completed, len(examples))
        effects = counted(int(figures["effects"] or 0), "effect")
        summary = f"{effects} of {counted(len(found), 'activity')}, each taken once"
        if not found:
            summary = "no handler took an effect"
        if examples:
            first = examples[0]
            summary = f"{counted(len(examples), 'effect')} not exactly once; the first: task {first.task}: {first.why}"
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures=figures,
            counterexamples=explain(history, examples),
        )

    return check


def _read(history: History) -> Mapping[str, _Effects]:
    found: dict[str, _Effects] = {}
    for operation in history.where("effect"):
        name, fence = subject_of(operation), whole(operation, "fence")
        one = found.get(name)
        if one is None:
            one = found[name] = _Effects(task=task_of(operation))
        if operation.type is OperationType.OK:
            one.taken[fence] = one.taken.get(fence, 0) + 1
        elif operation.type is OperationType.FAIL:
            one.refused |= {fence}
    return found


def _breaches(one: _Effects, completed: frozenset[int]) -> Iterator[Counterexample]:
    for fence, times in one.taken.items():
        if times > 1:
            why = f"its effect under fence {fence} was taken {times} times"
            yield Counterexample(kind="twice", task=one.task, why=why)
    if not completed:
        return
    winner, last = max(completed), max(one.taken, default=0)
    if winner in one.refused and winner not in one.taken:
        why = f"complete under fence {winner}, but its effect was refused: the store had seen a higher fence"
        yield Counterexample(kind="refused", task=one.task, why=why)
    elif winner not in one.taken:
        why = f"complete under fence {winner}, but without its effect"
        yield Counterexample(kind="missing", task=one.task, why=why)
    if last > winner:
        why = f"complete under fence {winner}, but the effect under fence {last} stands"
        yield Counterexample(kind="overwritten", task=one.task, why=why)


def _missing(
    completed: Mapping[str, frozenset[int]], found: Mapping[str, _Effects], history: History
) -> Iterator[Counterexample]:
    """Completed activities without any effect, if handlers do take effects."""
    missing = completed.keys() - found.keys() if found else frozenset()
    known = tasks(history) if missing else {}
    for name in sorted(missing, key=lambda name: known[name]):
        yield Counterexample(kind="missing", task=known[name], why="complete, but without its effect")


def _figures(
    found: Mapping[str, _Effects], completed: Mapping[str, frozenset[int]], breaches: int
) -> dict[str, float | int | None]:
    def superseded(name: str, one: _Effects) -> int:
        winner = max(completed.get(name) or one.taken)
        return sum(fence < winner for fence in one.taken)

    return {
        "effects": sum(sum(one.taken.values()) for one in found.values()),
        "superseded": sum(superseded(name, one) for name, one in found.items() if one.taken),
        "fenced_off": sum(len(one.refused - one.taken.keys()) for one in found.values() if one.refused),
        "not_once": breaches,
    }
