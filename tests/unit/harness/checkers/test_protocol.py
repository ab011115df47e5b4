from __future__ import annotations

from typing import Any

import pytest

from harness.checkers import protocol
from harness.checkers.base import CheckResult, Verdict
from harness.history import InjectionKind
from harness.history.promises import Loss, Promises
from tests.support.histories import INFO, INVOKE, OK, HistoryBuilder, completed

Row = tuple[str, int, int] | tuple[str, int, int, int]
QUEUED: Row = ("queued", 0, 0)


def judged(*rows: Row, **record: Any) -> CheckResult:
    builder = HistoryBuilder().enqueued(1).logged(1, *rows)
    return protocol()((builder.recorded(1, **record) if record else builder).history)


@pytest.mark.parametrize(
    "rows",
    [
        (QUEUED,),
        (QUEUED, ("canceled", 0, 1)),
        (QUEUED, ("canceled", 1, 0)),
        (QUEUED, ("error", 1, 0)),
        (QUEUED, ("running", 7, 0), ("running", 7, 1, 50), ("complete", 7, 2)),
        (QUEUED, ("running", 7, 0), ("queued", 7, 1), ("running", 8, 0), ("error", 8, 1)),
        (QUEUED, ("running", 7, 0), ("running", 8, 0), ("canceled", 9, 0)),
        (QUEUED, ("running", 0, 1), ("complete", 0, 2)),  # a system without tokens
    ],
)
def test_the_model_allows_what_the_statements_of_the_store_can_write(rows: tuple[Row, ...]) -> None:
    result = judged(*rows)
    assert (result.verdict, result.counterexamples) == (Verdict.VALID, ())
    assert result.figures == {"activities": 1, "steps": len(rows), "forbidden": 0}


@pytest.mark.parametrize(
    ("rows", "step", "state", "why"),
    [
        ((("running", 1, 0),), "running under fence 1, row 0,", "not enqueued", "begins with queued"),
        ((("queued", 0, 1),), "queued under fence 0, row 1,", "not enqueued", "begins with queued, row 0"),
        (
            (QUEUED, ("complete", 1, 0)),
            "complete under fence 1",
            "queued under fence 0, 0",
            "not followed by",
        ),
        (
            (QUEUED, ("error", 0, 1)),
            "error under fence 0",
            "queued under fence 0",
            "only a higher fence records",
        ),
        (
            (QUEUED, ("running", 1, 0), ("queued", 1, 1), ("queued", 1, 2)),
            "queued under fence 1, row 2,",
            "queued under fence 1",
            "only a higher fence records",
        ),
        ((QUEUED, ("running", 1, 1)), "running under fence 1", "queued under fence 0", "row 0 of fence 1"),
        (
            (QUEUED, ("running", 1, 0), ("complete", 2, 0), ("running", 3, 0)),
            "complete under fence 2, row 0,",
            "running under fence 1, 1 started",
            "only the holder of fence 1 records complete",
        ),
        (
            (QUEUED, ("running", 1, 0), ("queued", 2, 0)),
            "queued under fence 2",
            "running under",
            "only the holder",
        ),
        (
            (QUEUED, ("running", 1, 0), ("running", 1, 2)),
            "row 2",
            "running under",
            "row 1 of fence 1 is missing",
        ),
        (
            (QUEUED, ("running", 1, 0), ("queued", 1, 1), ("running", 1, 2)),
            "running under fence 1, row 2,",
            "queued under fence 1, 1 started",
            "queued is not followed by running under the same fence",
        ),
        (
            (QUEUED, ("canceled", 1, 0), ("running", 2, 0)),
            "running under",
            "canceled under",
            "nothing follows canceled",
        ),
    ],
)
def test_the_first_forbidden_step_is_named_with_the_state_before_it(
    rows: tuple[Row, ...], step: str, state: str, why: str
) -> None:
    result = judged(*rows)
    assert result.verdict is Verdict.INVALID
    [found] = result.counterexamples
    assert step in found["step"]
    assert found["state"].startswith(state)
    assert why in found["why"]
    assert found["state"] in result.summary


@pytest.mark.parametrize(("attempts", "wrong"), [((1, 2), None), ((1, 1), 2), ((2, 2), 1)])
def test_each_start_is_one_attempt(attempts: tuple[int, int], wrong: int | None) -> None:
    builder = HistoryBuilder().enqueued(1)
    builder.logged(1, QUEUED, ("running", 4, 0), ("running", 9, 0), ("complete", 9, 1))
    for fence, attempt in zip((4, 9), attempts, strict=True):
        value = {"task": 1, "activity": "a1", "fence": fence, "attempt": attempt}
        builder.op("worker-12", INVOKE, "run", **value).op("worker-12", OK, "run", **value)
    right = {"task": 1, "activity": "a1", "status": "complete", "fence": 9}
    found = protocol()(HistoryBuilder.of(builder).op("postgres", OK, "record", **right, attempt=2).history)
    assert (found.verdict is Verdict.INVALID) is (wrong is not None)
    assert (
        wrong is None
        or f"it is attempt {wrong}, and its worker recorded {attempts[wrong - 1]}" in found.summary
    )
    miscounted = protocol()(builder.op("postgres", OK, "record", **right, attempt=3).history)
    assert miscounted.verdict is Verdict.INVALID
    assert (
        wrong is not None
        or "the record, with attempt 3 in the state complete under fence 9, 2" in miscounted.summary
    )


def test_the_record_is_the_last_state() -> None:
    rows: tuple[Row, ...] = (QUEUED, ("running", 1, 0), ("complete", 1, 1))
    assert judged(*rows, fence=1).verdict is Verdict.VALID
    assert judged(*rows, fence=None).verdict is Verdict.VALID
    for record in ({"fence": 2}, {"fence": 1, "status": "error"}):
        result = judged(*rows, **record)
        assert result.verdict is Verdict.INVALID
        assert "in the state complete under fence 1, 1 started: it is another state" in result.summary


def test_a_run_that_was_cut_short_may_have_an_older_record() -> None:
    builder = HistoryBuilder().enqueued(1).logged(1, QUEUED, ("running", 1, 0)).recorded(1, status="queued")
    assert protocol()(builder.broke_down("a server ended").history).verdict is Verdict.UNKNOWN
    builder.logged(2, QUEUED, ("complete", 0, 1))
    assert protocol()(builder.history).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("loss", "begins", "verdict"),
    [
        (Loss.DATABASE_RESTORED, 1.5, Verdict.VALID),  # after the backup, and before the restoration
        (Loss.DATABASE_RESTORED, 3.0, Verdict.VALID),  # its start was recorded before the restoration
        (Loss.DATABASE_RESTORED, 0.5, Verdict.INVALID),  # before the backup
        (Loss.DATABASE_RESTORED, 9.0, Verdict.INVALID),
        (Loss.DATABASE_FROZEN, 1.5, Verdict.INVALID),
    ],
)
def test_a_restored_backup_may_lack_the_start_of_a_run(loss: Loss, begins: float, verdict: Verdict) -> None:
    builder = HistoryBuilder().promised(Promises(takes_over_after=4.0)).enqueued(1)
    builder.at(1).injected("restore-backup", InjectionKind.DATA_LOSS, loss=loss)
    builder.at(2).op("nemesis", INFO, "restore-backup", fault=1, phase="heal")
    builder.at(begins).began(1, by=12).at(20).ended(1, by=12, outcome=INFO).ran(1, by=13, fence=2)
    builder.logged(1, QUEUED, ("running", 2, 0), ("complete", 2, 1))
    assert protocol()(builder.history).verdict is verdict


def test_a_store_without_a_log_shows_nothing() -> None:
    assert protocol()(HistoryBuilder().enqueued(1).ran(1, by=12).history).verdict is Verdict.UNKNOWN
    assert protocol()(completed(HistoryBuilder().enqueued(1), 1).history).verdict is Verdict.VALID
