"""Mistakes of the adapter: what it recorded contradicts the format of a history, or itself.

They accuse no system under test: what they explain is UNKNOWN, and each is named. A loss that they do not explain stays
INVALID.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.checkers.base import CheckResult, Verdict
from harness.errors import AdapterMistake
from harness.history import BREAKDOWN, History, Operation, OperationType
from harness.history.fields import activity_of
from harness.history.figures import counted
from harness.history.statuses import COMPLETE, LEGAL

NAME = "adapter"
_STORE = frozenset({"delivery", "transitions", "witnesses", "fencing", "protocol", "effects", "progress"})
_WORKERS = _STORE | {"recovery", "duplicates", "locks", "priorities", "shutdown"}
_END = frozenset(
    {
        "delivery",
        "transitions",
        "protocol",
        "witnesses",
        "queue",
        "effects",
        "progress",
        "recovery",
        "shutdown",
    }
)

# By `f`, the numbers that an operation must have, and those that it may have.
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("enqueue", "run", "record"), ("task",)),
    "transition": ("task", "fence", "n"),
    "queue": ("ready", "leased", "scheduled"),
    "exit": ("pid", "code"),
}
_OPTIONAL = ("attempt", "fence", "percentage")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One mistake, in a sentence with its remedy.

    `explains` are the names of the checkers that it may make INVALID, `tasks` the tasks that it concerns; None: all.
    """

    why: str
    explains: frozenset[str]
    tasks: frozenset[int] | None = None


def mistakes(history: History) -> Sequence[Mistake]:
    """The mistakes of the adapter that the history shows, the first reason of each kind."""
    return history.derive(_mistakes)


def without_mistakes(results: Mapping[str, CheckResult], history: History) -> dict[str, CheckResult]:
    """The results, with a result `adapter` if there are mistakes, and UNKNOWN for each INVALID that they explain."""
    found = mistakes(history)
    if not found:
        return dict(results)
    summary = f"{counted(len(found), 'mistake')} of the adapter; the first: {found[0].why}"
    own = CheckResult(
        verdict=Verdict.UNKNOWN,
        summary=summary if len(found) > 1 else f"a mistake of the adapter: {found[0].why}",
        figures={"mistakes": len(found)},
        counterexamples=tuple(
            {"kind": "mistake", "why": one.why, **({"tasks": sorted(one.tasks)} if one.tasks else {})}
            for one in found
        ),
    )
    return {**{name: _explained(name, one, found) for name, one in results.items()}, NAME: own}


def _explained(name: str, result: CheckResult, found: Sequence[Mistake]) -> CheckResult:
    able = [one for one in found if name in one.explains]
    if result.verdict is not Verdict.INVALID or not able:
        return result
    if all(one.tasks is not None for one in able):
        concerned = frozenset().union(*(one.tasks or () for one in able))
        tasks = {member.get("task") for member in result.counterexamples}
        if any(isinstance(task, int) and task not in concerned for task in tasks):
            return result
    return result.doubted(f"because of a mistake of the adapter ({able[0].why})")


def _mistakes(history: History) -> Sequence[Mistake]:
    return [
        *_breakdowns(history),
        *_numbers(history),
        *_statuses(history),
        *_bodies(history),
        *_ids(history),
    ]


def _breakdowns(history: History) -> Iterator[Mistake]:
    for operation in history.where(BREAKDOWN):
        why = str(operation.value.get("why"))
        if AdapterMistake.PREFIX in why:
            yield Mistake(why=why.partition(AdapterMistake.PREFIX)[2].strip(), explains=_END)


def _numbers(history: History) -> Iterator[Mistake]:
    for f, needed in _NUMBERS.items():
        wrong: dict[str, Operation] = {}
        for operation in history.where(f):
            value = operation.value
            for name in needed:
                if type(value.get(name)) is not int:
                    wrong.setdefault(name, operation)
            for name in _OPTIONAL:
                if value.get(name) is not None and type(value[name]) is not int:
                    wrong.setdefault(name, operation)
        for name, operation in wrong.items():
            given = repr(operation.value[name]) if name in operation.value else "nothing"
            what = f"a `{f}` of {operation.process} has {given} as `{name}`; record a whole number"
            explains = frozenset({"exits", "shutdown"}) if f == "exit" else _END if f == "queue" else _WORKERS
            yield Mistake(why=what, explains=explains)


def _statuses(history: History) -> Iterator[Mistake]:
    unknown: dict[str, set[int]] = {}
    for f in ("record", "transition"):
        for operation in history.where(f):
            status = operation.value.get("status")
            if type(status) is not str or status not in LEGAL:
                tasks = unknown.setdefault("no status" if status is None else f"the status {status!r}", set())
                if type(task := operation.value.get("task")) is int:
                    tasks.add(task)
    for what, tasks in unknown.items():
        why = f"the store's evidence of {counted(len(tasks), 'task')} has {what}; write one of {', '.join(LEGAL)}"
        yield Mistake(why=why, explains=_STORE, tasks=frozenset(tasks))


def _bodies(history: History) -> Iterator[Mistake]:
    """Tasks that are complete in the store, although no handler of the whole history recorded a run."""
    if next(history.where("run"), None) is None:
        complete = {
            task
            for operation in history.where("record")
            if operation.value.get("status") == COMPLETE and type(task := operation.value.get("task")) is int
        }
        if complete:
            what = f"{counted(len(complete), 'task')} completed, but no handler recorded a `run`"
            why = f"{what}; call the body of the harness in it"
            yield Mistake(why=why, explains=_WORKERS)


def _ids(history: History) -> Iterator[Mistake]:
    """Ids of tasks that no two sources share, for no task at all; and runs without an id."""
    sources = {
        "submit": _by_task(history, "enqueue", OperationType.OK),
        "runs": _by_task(history, "run"),
        "records": _by_task(history, "record"),
    }
    for first, second in (("submit", "runs"), ("submit", "records"), ("runs", "records")):
        both = sources[first].keys() & sources[second].keys()
        named = [task for task in both if sources[first][task] and sources[second][task]]
        apart = [task for task in named if not sources[first][task] & sources[second][task]]
        if apart and len(apart) == len(named) and len(named) >= min(2, len(both)):
            task = min(apart)
            one, other = (next(iter(sorted(sources[name][task]))) for name in (first, second))
            why = (
                f"task {task} is {one!r} by its {first} and {other!r} by its {second}, and so is every other; "
                "use one id for a task"
            )
            yield Mistake(why=why, explains=_WORKERS)
    without = {
        task
        for task, ids in sources["runs"].items()
        if not ids and (sources["submit"].get(task) or sources["records"].get(task))
    }
    if without:
        what = f"the runs of {counted(len(without), 'task')} have no activity, but the submission or the record has one"
        why = f"{what}; pass the id to the body"
        yield Mistake(why=why, explains=_WORKERS, tasks=frozenset(without))


def _by_task(history: History, f: str, *kinds: OperationType) -> Mapping[int, set[str]]:
    found: dict[int, set[str]] = {}
    for operation in history.where(f, *kinds):
        if type(task := operation.value.get("task")) is int:
            ids = found.setdefault(task, set())
            if (activity := activity_of(operation)) is not None:
                ids.add(activity)
    return found
