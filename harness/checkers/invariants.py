"""Does an invariant of the application hold: what its users count on, judged from the application's own data?"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from numbers import Integral
from typing import Any
from uuid import UUID

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.errors import FOREIGN_ERRORS, describe_error
from harness.history import INVARIANT, History, Operation
from harness.history.ending import cut_short
from harness.history.fields import activity_of, task_of
from harness.history.figures import counted
from harness.history.records import records
from harness.history.statuses import COMPLETE

PREFIX = "invariant: "
"""How the name of the checker of an invariant begins."""

_FORMS = "Return the tasks that break it as a set or a list, a mapping of task to reason, or True or False"


class CompletedTask(str):
    """The id of a task in the system under test, with its `number` in the run."""

    __slots__ = ("number",)
    number: int

    def __new__(cls, activity: str, number: int) -> CompletedTask:
        """The id as text that knows its number."""
        task = super().__new__(cls, activity)
        task.number = number
        return task


class FoundRows(dict[Hashable, Any]):
    """A mapping that a source gave. A task finds its value under its id, else under its number."""

    def __missing__(self, key: Hashable) -> Any:
        others: tuple[Hashable, ...] = ()
        if isinstance(key, CompletedTask):
            others = (key.number, str(key.number))
        elif isinstance(key, UUID):
            others = (str(key),)
        for other in others:
            if super().__contains__(other):
                return super().__getitem__(other)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        # What cannot be hashed is not in it.
        try:
            self[key]
        except (KeyError, TypeError):
            return False
        return True

    def get(self, key: Hashable, default: Any = None, /) -> Any:
        """The value of a key, `default` if there is none."""
        try:
            return self[key]
        except KeyError:
            return default


def completed_tasks(history: History) -> frozenset[CompletedTask]:
    """The tasks with a number whose record is complete."""
    return completed_of(records(history).values())


def completed_of(recorded: Iterable[Operation]) -> frozenset[CompletedTask]:
    """The complete tasks of these records."""
    found = ((activity_of(one), one) for one in recorded if one.value.get("status") == COMPLETE)
    return frozenset(CompletedTask(activity, task_of(one)) for activity, one in found if activity)


def invariant(name: str, function: Callable[..., Any] | None) -> Checker:
    """No task breaks an invariant of the application, by what its source gave after the drain.

    `function` takes what the source gave and the completed tasks; for None, the recorded answer of a function without
    a source counts. UNKNOWN if the run was cut short, if the source failed, if the function raises or answers with
    something that is no answer, or if the history has no operation of this invariant. Does not claim anything about
    tasks that did not complete, except where the function names them.
    """

    def check(history: History) -> CheckResult:
        if (why := cut_short(history)) is not None:
            return _unknown(f"the run broke down: {why}")
        found = next((op for op in history.where(INVARIANT) if op.value.get("name") == name), None)
        if found is None:
            return _unknown(
                "the history has nothing of this invariant; run the scenario with this application"
            )
        if (error := found.value.get("error")) is not None:
            return _unknown(str(error))
        completed = completed_tasks(history)
        try:
            reasons = (
                _recorded_reasons(found) if function is None else judged(function, found.value, completed)
            )
        except ValueError as problem:
            return _unknown(str(problem))
        return _result(history, reasons, completed)

    return check


def recorded_invariants(history: History) -> Mapping[str, Checker]:
    """The checkers of the invariants that the history names, without the functions of their application."""
    names = {str(op.value.get("name")) for op in history.where(INVARIANT)}
    return {PREFIX + name: invariant(name, None) for name in sorted(names)}


def judged(
    function: Callable[..., Any], value: Mapping[str, Any], completed: Set[CompletedTask]
) -> dict[str | int | None, str]:
    """By task (its id, or its number), why it breaks the invariant; None is for the whole.

    `value` is that of the recorded operation: with `found`, the function takes it first. Raises `ValueError`, one
    sentence, if the function raises or answers with something that is no answer.
    """
    found = [_loaded(value["found"])] if "found" in value else []
    arguments = (*found, frozenset(completed))
    try:
        answer = function(*arguments[: _taken(function)])
        if inspect.isawaitable(answer):
            answer = asyncio.run(_awaited(answer))
        return dict(_reasons(answer, found[0] if found else None))
    except _WrongAnswer as error:
        raise ValueError(str(error)) from None
    except FOREIGN_ERRORS as error:
        raise ValueError(f"the function raised {describe_error(error)}. Correct it") from error


class _WrongAnswer(Exception):
    pass


def _taken(function: Callable[..., Any]) -> int:
    """How many arguments the function takes by position."""
    kinds = [one.kind for one in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return len(kinds) + 1
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in by_position for kind in kinds)


async def _awaited(answer: Any) -> Any:
    return await answer


def _reasons(answer: Any, found: Any) -> Iterator[tuple[str | int | None, str]]:
    match answer:
        case True:
            return
        case False:
            yield None, "the function says that it does not hold"
        case Mapping():
            for task, why in answer.items():
                yield _key(task), str(why)
        case Iterable() if not isinstance(answer, str | bytes):
            for task in answer:
                yield _key(task), _why(task, found)
        case _:
            raise _WrongAnswer(f"the function returned {type(answer).__name__}, which is no answer. {_FORMS}")


def _why(task: Any, found: Any) -> str:
    """What the source gave for a task that the function named without a reason."""
    if not isinstance(found, FoundRows):
        return "it breaks the invariant"
    return f"the source has {found[task]!r} for it" if task in found else "the source has nothing of it"


def _key(task: Any) -> str | int:
    if isinstance(task, str | UUID):
        return str(task)
    if not isinstance(task, bool) and isinstance(task, Integral):
        return int(task)
    raise _WrongAnswer(f"the function named {task!r}, which is no task. Name ids or numbers of tasks")


def _recorded_reasons(found: Operation) -> dict[str | int | None, str]:
    broken = found.value.get("broken")
    if not isinstance(broken, list):
        raise ValueError("its function is in the application; judge the history with --app MODULE:NAME")
    return {task: str(why) for task, why in broken}


def _loaded(found: Any) -> Any:
    """What a source gave, as its invariant takes it."""
    if isinstance(found, Mapping) and isinstance(pairs := found.get("mapping"), list):
        return FoundRows((key, value) for key, value in pairs)
    return found.get("value") if isinstance(found, Mapping) else found


def _result(
    history: History, reasons: Mapping[str | int | None, str], completed: Set[CompletedTask]
) -> CheckResult:
    numbers = _numbers(history)
    known = frozenset(numbers.values())
    named: dict[int, str] = {}
    others: list[Mapping[str, Any]] = []
    for task, why in reasons.items():
        by_number = _number(task)
        number = by_number if type(task) is int and by_number in known else numbers.get(str(task))
        # The keys of a JSON object and the fields of a hash are text, also where they are numbers of tasks.
        if number is None and by_number in known:
            number = by_number
        if number is None:
            others.append({"kind": "broken", "why": why} | ({} if task is None else {"subject": task}))
        else:
            named[number] = why
    examples = [Counterexample(kind="broken", task=one, why=why) for one, why in sorted(named.items())]
    figures = {"completed": len(completed), "broken": len(reasons)}
    if not reasons and not completed:
        return CheckResult(verdict=Verdict.UNKNOWN, summary="no task completed", figures=figures)
    return CheckResult(
        verdict=Verdict.INVALID if reasons else Verdict.VALID,
        summary=_summary(examples, others) if reasons else f"it holds for {len(completed)} completed tasks",
        figures=figures,
        counterexamples=(*others, *explain(history, examples)),
    )


def _number(task: str | int | None) -> int | None:
    return int(task) if isinstance(task, int) or (isinstance(task, str) and task.isdecimal()) else None


def _numbers(history: History) -> Mapping[str, int]:
    """By id, the number of every task of the client, the workers and the store."""
    found = (op for f in ("enqueue", "run", "record") for op in history.where(f))
    return {activity: task_of(op) for op in found if (activity := activity_of(op))}


def _summary(examples: list[Counterexample], others: list[Mapping[str, Any]]) -> str:
    if examples:
        many = counted(len(examples) + len(others), "task", "break")
        return f"{many} it; the first: task {examples[0].task}: {examples[0].why}"
    subject = others[0].get("subject")
    return str(others[0]["why"]) if subject is None else f"{len(others)} break it; the first: {subject}"


def _unknown(why: str) -> CheckResult:
    return CheckResult(verdict=Verdict.UNKNOWN, summary=why)
