"""A mistake of the adapter is UNKNOWN and named; a loss that it does not explain stays INVALID."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from harness.checkers import standard
from harness.checkers.adapter import mistakes, without_mistakes
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.errors import AdapterMistake
from harness.history import BREAKDOWN, RUNNER
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder

DONE = (("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1))


def submitted(*tasks: int) -> HistoryBuilder:
    return HistoryBuilder().enqueued(*tasks)


def complete(made: HistoryBuilder, *tasks: int) -> HistoryBuilder:
    for task in tasks:
        made.ran(task, by=12).logged(task, *DONE).recorded(task)
    return made


def judged(made: HistoryBuilder) -> Mapping[str, CheckResult]:
    history = made.history
    return without_mistakes(check_all(standard(recovery_p99=None), history), history)


def unknown_status(made: HistoryBuilder) -> None:
    made.ran(1, 2, by=12).recorded(1, 2, status="SUCCESS")


def unknown_transition(made: HistoryBuilder) -> None:
    complete(made.ran(1, by=12).logged(1, ("PENDING", 0, 0), ("SUCCESS", 1, 0)).recorded(1), 2)


def no_status(made: HistoryBuilder) -> None:
    complete(made.ran(1, by=12), 2).op("postgres", INFO, "record", task=1, activity="a1")


def no_body(made: HistoryBuilder) -> None:
    made.recorded(1, 2)


def other_ids_in_runs(made: HistoryBuilder) -> None:
    for task in (1, 2):
        made.op("worker-12", INVOKE, "run", task=task, activity=f"job:{task}", fence=1)
        made.op("worker-12", OK, "run", task=task, activity=f"job:{task}", fence=1)
    made.recorded(1, 2)


def other_ids_in_records(made: HistoryBuilder) -> None:
    made.ran(1, 2, by=12).recorded(1, activity="row-1").recorded(2, activity="row-2")


def runs_without_id(made: HistoryBuilder) -> None:
    for task in (1, 2):
        made.op("worker-12", INVOKE, "run", task=task, fence=1).op("worker-12", OK, "run", task=task, fence=1)
    made.recorded(1, 2)


def text_as_number(made: HistoryBuilder) -> None:
    complete(made, 1).op("postgres", INFO, "record", task="2", activity="a2", status="complete")


def run_of_text(made: HistoryBuilder) -> None:
    complete(made, 1, 2).op("worker-12", INVOKE, "run", task="2", activity="a2")


def text_as_fence(made: HistoryBuilder) -> None:
    complete(made, 1).ran(2, by=12).op(
        "postgres", INFO, "record", task=2, activity="a2", status="complete", fence="1"
    )


def no_task(made: HistoryBuilder) -> None:
    complete(made, 1, 2).op("postgres", INFO, "record", activity="a3", status="complete")


def unfinished_raised(made: HistoryBuilder) -> None:
    complete(made, 1).recorded(2, status="queued")
    made.op(
        RUNNER, INFO, BREAKDOWN, why=f"{AdapterMistake.PREFIX} `unfinished` raised KeyError: 'x'. Fix it."
    )


def queue_without_counts(made: HistoryBuilder) -> None:
    complete(made, 1, 2).op("redis", INFO, "queue", ready=None, leased=0, scheduled=0, known=3)


MISTAKES: dict[str, tuple[Callable[[HistoryBuilder], None], str]] = {
    "a status that the harness does not know": (unknown_status, "has the status 'SUCCESS'"),
    "such a status in the log": (unknown_transition, "has the status 'PENDING'"),
    "a record without a status": (no_status, "1 task has no status"),
    "a handler without the body": (no_body, "no handler recorded a `run`"),
    "another id in the runs": (other_ids_in_runs, "'a1' by its submit and 'job:1' by its runs"),
    "another id in the records": (other_ids_in_records, "'a1' by its submit and 'row-1' by its records"),
    "runs without an id": (runs_without_id, "the runs of 2 tasks have no activity"),
    "text as the number of a task": (text_as_number, "`record` of postgres has '2' as `task`"),
    "a run of such a task": (run_of_text, "`run` of worker-12 has '2' as `task`"),
    "text as a fencing token": (text_as_fence, "has '1' as `fence`"),
    "a record of no task": (no_task, "has nothing as `task`"),
    "a count that raises": (unfinished_raised, "`unfinished` raised KeyError: 'x'"),
    "a queue without counts": (queue_without_counts, "has None as `ready`"),
}


@pytest.mark.parametrize(("mistake", "named"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_of_the_adapter_is_unknown_and_named(
    mistake: Callable[[HistoryBuilder], None], named: str
) -> None:
    made = submitted(1, 2)
    mistake(made)
    found = judged(made)
    assert found["adapter"].verdict is Verdict.UNKNOWN
    assert named in found["adapter"].summary
    assert {name: one.summary for name, one in found.items() if one.verdict is Verdict.INVALID} == {}


LOSSES: dict[str, Callable[[HistoryBuilder], object]] = {
    "running at the end": lambda made: made.began(3, by=12).recorded(3, status="running"),
    "queued at the end": lambda made: made.recorded(3, status="queued"),
    "no record": lambda made: made,
    "complete without a run": lambda made: made.recorded(3),
    "another id": lambda made: made.ran(3, by=12).recorded(3, activity="other"),
    "failed": lambda made: made.began(3, by=12).ended(3, by=12, outcome=FAIL).recorded(3, status="error"),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_loss_stays_invalid_and_is_no_mistake_of_the_adapter(
    loss: Callable[[HistoryBuilder], object],
) -> None:
    made = complete(submitted(1, 2, 3), 1, 2)
    loss(made)
    assert mistakes(made.history) == []
    assert judged(made)["delivery"].verdict is Verdict.INVALID


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_loss_beside_a_mistake_that_does_not_explain_it_stays_invalid(
    loss: Callable[[HistoryBuilder], object],
) -> None:
    made = submitted(1, 2, 3)
    unknown_status(made)
    loss(made)
    found = judged(made)
    assert found["adapter"].verdict is Verdict.UNKNOWN
    assert found["delivery"].verdict is Verdict.INVALID


def test_nothing_ran_and_nothing_completed_is_a_loss() -> None:
    made = submitted(1, 2).recorded(1, 2, status="queued")
    assert mistakes(made.history) == []
    assert judged(made)["delivery"].verdict is Verdict.INVALID


def test_an_exit_without_a_code_accuses_no_pool_and_excuses_no_loss() -> None:
    made = complete(submitted(1, 2), 1).op("pool-1", INFO, "exit", pid=1, code=None)
    found = judged(made)
    assert "`exit` of pool-1 has None as `code`" in found["adapter"].summary
    assert found["exits"].verdict is Verdict.UNKNOWN
    assert found["delivery"].verdict is Verdict.INVALID


def test_a_history_without_mistakes_has_no_such_result() -> None:
    assert "adapter" not in judged(complete(submitted(1, 2), 1, 2))


def test_ids_are_compared_only_where_two_sources_have_them() -> None:
    made = HistoryBuilder().enqueued(1, 2)
    for task in (1, 2):
        made.op("worker-12", INVOKE, "run", task=task, activity=f"a{task}")
        made.op("worker-12", OK, "run", task=task, activity=f"a{task}")
        made.op("postgres", INFO, "record", task=task, status="complete")
    assert mistakes(made.history) == []
