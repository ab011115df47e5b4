"""An invariant of an application, judged from what its source gave after the drain."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.checkers.invariants import CompletedTask, FoundRows, invariant
from harness.history import History, Operation, OperationType
from harness.run.judging import judge
from harness.scenario import registry

IDS = {number: str(UUID(int=number)) for number in range(1, 6)}


def operation(f: str, kind: OperationType = OperationType.INFO, **value: Any) -> Operation:
    return Operation(time=1, process="x", type=kind, f=f, value=value)


def run(*extra: Operation, **observed: Any) -> History:
    """Five tasks, of which the fifth did not complete."""
    operations = []
    for number, activity in IDS.items():
        status = "error" if number == 5 else "complete"
        operations += [
            operation("enqueue", OperationType.OK, task=number, activity=activity),
            operation("record", task=number, activity=activity, status=status, fence=1),
        ]
    if observed:
        operations.append(operation("invariant", name="holds", **observed))
    return History.of([*operations, *extra])


def table(**counts: int) -> dict[str, Any]:
    return {"mapping": [[IDS[int(name[1:])], count] for name, count in counts.items()]}


def judged(function: Callable[..., Any] | None, history: History) -> CheckResult:
    return invariant("holds", function)(history)


def tasks(result: CheckResult) -> list[int]:
    return [example["task"] for example in result.counterexamples if "task" in example]


def booked_once(rows: Any, completed: Any) -> Any:
    return {task for task in completed if rows.get(task) != 1}


def test_tasks_with_another_number_of_rows_are_named_with_what_the_source_has() -> None:
    result = judged(booked_once, run(found=table(t1=1, t2=2, t4=1)))
    assert result.verdict is Verdict.INVALID
    assert [(one["task"], one["why"]) for one in result.counterexamples] == [
        (2, "the source has 2 for it"),
        (3, "the source has nothing of it"),
    ]
    assert result.counterexamples[0]["operations"].startswith("acknowledged at ")
    assert result.summary == "2 tasks break it; the first: task 2: the source has 2 for it"


def test_a_task_that_did_not_complete_is_no_member_of_completed() -> None:
    assert judged(booked_once, run(found=table(t1=1, t2=1, t3=1, t4=1))).verdict is Verdict.VALID


@pytest.mark.parametrize("keys", [lambda n: n, str])
def test_rows_by_the_number_of_a_task_are_found_by_the_task(keys: Callable[[int], Any]) -> None:
    found = {"mapping": [[keys(number), 2 if number == 3 else 1] for number in range(1, 5)]}
    assert tasks(judged(booked_once, run(found=found))) == [3]


def test_a_task_knows_its_number() -> None:
    def odd(_rows: Any, completed: set[CompletedTask]) -> list[int]:
        return [task.number for task in completed if task.number % 2]

    assert tasks(judged(odd, run(found=table()))) == [1, 3]


def test_an_id_is_found_as_text_and_as_uuid() -> None:
    rows = FoundRows({IDS[1]: 7})
    assert (rows.get(UUID(int=1)), rows[UUID(int=1)], UUID(int=1) in rows) == (7, 7, True)
    assert (rows.get("x"), rows.get("x", 0), "x" in rows) == (None, 0, False)


def generated(rows: Any, completed: Any) -> Iterator[str]:
    yield IDS[2]


async def awaited(rows: Any, completed: Any) -> list[str]:
    return [IDS[2]]


@pytest.mark.parametrize(
    "function",
    [
        lambda rows, completed: {UUID(int=2)},
        lambda rows, completed: frozenset({IDS[2]}),
        lambda rows, completed: (2,),
        lambda rows, completed: ["2"],
        lambda rows, completed: {"2": "too late"},
        lambda rows, completed: {"second": IDS[2]}.values(),
        lambda rows, completed: deque([IDS[2]]),
        lambda rows, completed: dict.fromkeys([IDS[2]]).keys(),
        lambda rows: [IDS[2]],
        lambda *everything: [2],
        lambda rows, completed, limit=3: [2],
        generated,
        awaited,
    ],
)
def test_tasks_may_be_named_in_every_usual_way(function: Callable[..., Any]) -> None:
    result = judged(function, run(found=table(t2=2)))
    assert (result.verdict, tasks(result)) == (Verdict.INVALID, [2])


def test_a_mapping_gives_the_reason_of_each_task() -> None:
    result = judged(lambda rows, completed: {IDS[1]: "too late", 4: 12}, run(found=table()))
    assert [(one["task"], one["why"]) for one in result.counterexamples] == [(1, "too late"), (4, "12")]


def test_true_holds_and_false_is_broken_without_a_task() -> None:
    assert judged(lambda rows: True, run(found=table())).verdict is Verdict.VALID
    result = judged(lambda rows: False, run(found=table()))
    assert (result.verdict, result.summary) == (Verdict.INVALID, "the function says that it does not hold")


def test_what_is_no_task_of_the_run_is_named_as_it_is() -> None:
    result = judged(lambda rows: ["order-9", 77], run(found=table()))
    assert result.verdict is Verdict.INVALID
    assert [one["subject"] for one in result.counterexamples] == ["order-9", 77]
    assert result.summary == "2 break it; the first: order-9"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "the function returned NoneType, which is no answer. Return the tasks that break it as a set"),
        ("task", "the function returned str, which is no answer. Return the tasks"),
        (3, "the function returned int, which is no answer."),
        ([1.5], "the function named 1.5, which is no task. Name ids or numbers of tasks"),
        ([True], "the function named True, which is no task."),
        ({None: "why"}, "the function named None, which is no task."),
    ],
)
def test_another_answer_is_unknown_with_one_sentence(answer: Any, sentence: str) -> None:
    result = judged(lambda rows: answer, run(found=table()))
    assert result.verdict is Verdict.UNKNOWN
    assert result.summary.startswith(sentence)


def test_a_function_that_raises_is_unknown() -> None:
    result = judged(lambda rows: rows["no"], run(found=table()))
    assert (result.verdict, result.summary) == (
        Verdict.UNKNOWN,
        "the function raised KeyError: 'no'. Correct it",
    )


def test_a_function_that_ends_the_process_is_unknown() -> None:
    result = judged(lambda rows: sys.exit(0), run(found=table()))
    assert (result.verdict, result.summary) == (
        Verdict.UNKNOWN,
        "the function raised SystemExit: 0. Correct it",
    )


def test_a_source_that_failed_is_unknown() -> None:
    result = judged(booked_once, run(error="the source failed: relation does not exist"))
    assert (result.verdict, result.summary) == (
        Verdict.UNKNOWN,
        "the source failed: relation does not exist",
    )


def test_a_run_that_broke_down_is_unknown_whatever_the_rows_say() -> None:
    broken = operation("breakdown", why="the drain broke down")
    result = judged(booked_once, run(broken, found=table()))
    assert (result.verdict, result.summary) == (
        Verdict.UNKNOWN,
        "the run broke down: the drain broke down",
    )


def test_a_history_without_the_invariant_or_without_a_complete_task_is_unknown() -> None:
    assert judged(booked_once, run()).verdict is Verdict.UNKNOWN
    empty = History.of([operation("invariant", name="holds", found=table())])
    assert judged(booked_once, empty).summary == "no task completed"


def test_the_recorded_answer_of_a_function_without_source_counts() -> None:
    result = judged(None, run(broken=[[IDS[3], "gone"]]))
    assert [(one["task"], one["why"]) for one in result.counterexamples] == [(3, "gone")]
    assert judged(None, run(broken=[])).verdict is Verdict.VALID
    assert judged(None, run(broken=None)).verdict is Verdict.UNKNOWN


def test_a_history_is_not_valid_without_the_application_whose_invariants_it_has() -> None:
    """`harness check` without --app judges what it can, and drops no invariant."""
    cases: dict[Verdict, dict[str, Any]] = {
        Verdict.UNKNOWN: {"found": table(t2=2)},
        Verdict.INVALID: {"broken": [[IDS[2], "twice"]]},
    }
    for verdict, observed in cases.items():
        result = judge(registry.scenario("kill-pool"), run(**observed))["invariant: holds"]
        assert result.verdict is verdict
        assert verdict is Verdict.INVALID or "--app MODULE:NAME" in result.summary


def test_a_value_that_is_no_mapping_arrives_as_it_is() -> None:
    assert judged(lambda total: total == 4, run(found={"value": 4})).verdict is Verdict.VALID
    assert tasks(judged(lambda ids, completed: ids, run(found={"value": [IDS[1]]}))) == [1]
