"""One strike is judged by the history of its own tasks, and shown in the table with the command that repeats it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from harness.checkers.base import Verdict
from harness.crashpoints.judging import StrikeRecord, history_of, judged
from harness.crashpoints.listing import without_repeated
from harness.crashpoints.lives import LIVES, lives_of
from harness.crashpoints.points import CrashKind, CrashRow, CrashStrike, Point
from harness.crashpoints.run import all_strikes
from harness.crashpoints.table import document, kinds_text, missed, overall, reasons, summary, table
from harness.errors import UsageError
from harness.history.names import PROMISES
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.agentexec_target import TARGET
from tests.support.histories import FAIL, INFO, INVOKE, OK, HistoryBuilder

POINT = Point(
    life="plain", role="worker", service="redis", client="w", name="EVALSHA step.lua", occurrence=2, number=5
)
STRIKE = CrashStrike(point=POINT, kind=CrashKind.KILLED_AFTER)
RECORD = StrikeRecord(strike=STRIKE, faults=frozenset({7}), tasks=frozenset({1}), may_end_badly=False)


OTHER = POINT.kind._replace(name="EVALSHA cancel.lua")
SEEN = {POINT.kind: 3, OTHER: 1}


def row_of(builder: HistoryBuilder, record: StrikeRecord = RECORD) -> CrashRow:
    return judged(record, history_of(record, builder.operations))


def complete(builder: HistoryBuilder, task: int) -> HistoryBuilder:
    """One run of a task, and all evidence of its end."""
    builder.enqueued(task).ran(task, by=12).effect(task, by=12).recorded(task, fence=1)
    return builder.logged(task, ("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1)).queue()


def clean() -> HistoryBuilder:
    return complete(HistoryBuilder(), 1)


def test_two_strikes_excuse_one_more_run_each() -> None:
    lane = HistoryBuilder().enqueued(1)
    for fence in (1, 2, 3):
        lane.ran(1, by=11 + fence, fence=fence)
    lane.effect(1, by=14, fence=3).recorded(1, fence=3)
    lane.logged(
        1, ("queued", 0, 0), ("running", 1, 0), ("running", 2, 0), ("running", 3, 0), ("complete", 3, 1)
    )
    lane.queue()
    second = CrashStrike(point=POINT, kind=CrashKind.RESET, first=STRIKE)
    assert row_of(lane).verdict is Verdict.INVALID
    both = replace(RECORD, strike=second, faults=frozenset({7, 8}))
    assert row_of(lane, both).verdict is Verdict.VALID


def test_a_task_that_is_complete_once_is_clean() -> None:
    row = row_of(clean())
    assert (row.verdict, row.outcome, row.why) == (Verdict.VALID, "once", "")


def test_a_second_run_is_shown_and_no_breach() -> None:
    again = HistoryBuilder().enqueued(1).ran(1, by=12).ran(1, by=13, fence=2).effect(1, by=13, fence=2)
    again.logged(1, ("queued", 0, 0), ("running", 1, 0), ("running", 2, 0), ("complete", 2, 1))
    row = row_of(again.recorded(1, fence=2).queue())
    assert (row.verdict, row.outcome, row.runs) == (Verdict.VALID, "ran 2x", 2)


def test_the_recorded_end_of_a_retry_is_no_interruption() -> None:
    lane = HistoryBuilder().enqueued(1).began(1, by=12)
    lane.op("worker-12", FAIL, "run", task=1, fence=1, error="it is asked for")
    lane.ran(1, by=12, fence=2).effect(1, by=12, fence=2)
    lane.op(
        "nemesis", INFO, "killed-after", fault=7, phase="inject", kind="kill", loss="worker-killed", pids=[12]
    )
    lane.logged(
        1, ("queued", 0, 0), ("running", 1, 0), ("queued", 1, 1), ("running", 2, 0), ("complete", 2, 1)
    )
    row = row_of(lane.recorded(1, fence=2).queue())
    assert (row.verdict, row.outcome, row.why) == (Verdict.VALID, "once", "")


def test_an_end_whose_beginning_cannot_be_read_is_judged() -> None:
    lane = HistoryBuilder().enqueued(1).op("worker-12", OK, "run", task=1, fence=1).effect(1, by=12)
    lane.op("nemesis", INFO, "killed-after", fault=7, phase="inject", kind="kill", pids=[12])
    lane.logged(1, ("queued", 0, 0), ("running", 1, 0), ("complete", 1, 1))
    assert row_of(lane.recorded(1, fence=1).queue()).runs == 1


def test_a_lost_task_is_lost() -> None:
    row = row_of(complete(HistoryBuilder().enqueued(1), 2), replace(RECORD, tasks=frozenset({1, 2})))
    assert (row.verdict, row.outcome) == (Verdict.INVALID, "lost")


def test_tasks_and_faults_of_other_strikes_are_left_out() -> None:
    lane = clean().enqueued(2)  # task 2 is lost
    lane.op("nemesis", INFO, "killed-after", fault=6, phase="inject", kind="kill", pids=[12])
    lane.op("nemesis", INFO, "killed-after", fault=7, phase="inject", kind="kill", pids=[13])
    assert row_of(lane).verdict is Verdict.VALID
    faults = [op.value["fault"] for op in history_of(RECORD, lane.operations).by_process("nemesis")]
    assert faults == [7]


def test_a_loss_that_is_not_promised_is_named_and_not_asked() -> None:
    lost = HistoryBuilder().op("runner", INFO, PROMISES, **Promises(records=True).to_value())
    lost.op("nemesis", INFO, "killed-after", fault=7, phase="inject", kind="kill", pids=[12])
    lost.enqueued(1).began(1, by=12).enqueued(2).ran(2, by=13).recorded(2)
    row = row_of(lost, replace(RECORD, tasks=frozenset({1, 2})))
    assert (row.verdict, row.outcome) == (Verdict.NOT_ASKED, "lost")


def test_a_strike_is_read_from_its_word() -> None:
    second = CrashStrike(point=replace(POINT, name="GET"), kind=CrashKind.RESET, first=STRIKE)
    for strike in (STRIKE, second):
        assert CrashStrike.parse(strike.id) == strike
    with pytest.raises(UsageError, match="is no strike"):
        CrashStrike.parse("plain|worker-redis|w|GET|first|reset")


def test_every_command_gets_every_strike() -> None:
    points = [POINT, replace(POINT, life="drain")]
    strikes = all_strikes(points)
    # What arrives late is overtaken by a run, which a drain ends.
    assert len(strikes) == 2 * len(CrashKind) - 1
    assert {one.kind.injection("worker", of_pool=False)[1] for one in strikes} == {
        Loss.WORKER_KILLED,
        Loss.REPLY_LOST,
    }


promises = partial(Promises, locks=True, sigterm=SigtermPromise.DRAINS)


def test_a_target_lives_what_it_has_features_and_promises_for() -> None:
    assert [
        life.name
        for life in lives_of(TARGET, promises(survives=frozenset({Loss.BROKER_EMPTIED}), most_crashes=5))
    ] == list(LIVES)
    assert "emptied" not in [life.name for life in lives_of(TARGET, promises())]
    plain = [life.name for life in lives_of(object(), Promises())]  # type: ignore[arg-type]  # a target without any
    assert plain == ["plain", "batch", "scripts-lost", "pool-start", "producer-start"]


def test_a_dead_letter_that_runs_again_has_to_end_well_and_one_that_stays_need_not() -> None:
    dead = complete(HistoryBuilder(), 2).enqueued(1).began(1, by=12).recorded(1, status="error")
    dead.logged(1, ("queued", 0, 0), ("running", 1, 0), ("error", 1, 1))
    again, of_new = HistoryBuilder.of(dead), {"task": 1, "activity": "b1", "fence": 1}
    again.op("worker-13", INVOKE, "run", **of_new, pid=13).op("worker-13", OK, "effect", **of_new)
    again.op("worker-13", OK, "run", **of_new, pid=13).recorded(1, activity="b1")
    for n, status in enumerate(("queued", "running", "complete")):
        again.op("postgres", INFO, "transition", **of_new | {"fence": int(n > 0)}, n=n // 2, status=status)
    died = replace(RECORD, may_end_badly=True, tasks=frozenset({1, 2}))
    requeued = replace(died, requeued=True)
    assert (row_of(dead, died).verdict, row_of(again, requeued).verdict) == (Verdict.VALID, Verdict.VALID)
    row = row_of(dead, requeued)
    assert (row.verdict, row.outcome, row.why) == (Verdict.INVALID, "requeue", "requeue: not complete: [1]")


def test_a_command_that_no_strike_fell_on_is_named() -> None:
    struck = CrashRow(strike=STRIKE, verdict=Verdict.VALID, outcome="once")
    first, *others = kinds_text(SEEN, [struck])
    assert first.startswith("1 of 2 kinds of commands struck; not struck")
    assert [line.strip() for line in others] == ["worker-redis, w, EVALSHA cancel.lua: sent 1 time"]
    assert missed(SEEN, [replace(struck, struck=False)]) == SEEN


def test_a_process_that_starts_is_killed_before_each_command_and_not_twice_in_between() -> None:
    point = replace(POINT, life="pool-start")
    assert CrashKind.KILLED_AFTER not in {strike.kind for strike in all_strikes([point])}
    row = CrashRow(
        strike=CrashStrike(point=point, kind=CrashKind.KILLED_BEFORE), verdict=Verdict.VALID, outcome="once"
    )
    assert table([row]).splitlines()[-1].split()[-3:] == ["once", "as", "next"]


def test_what_a_start_has_in_common_with_another_life_is_struck_there() -> None:
    start = replace(POINT, life="producer-start")
    alone = replace(start, name="HELLO")
    assert without_repeated([POINT, start, alone]) == [POINT, alone]
    emptied = replace(alone, life="emptied", name="HGET")
    assert without_repeated([emptied, replace(emptied, occurrence=3), start, POINT]) == [emptied, POINT]
    requeued, purged = (replace(emptied, life=life, name="ZMSCORE") for life in ("requeued", "purged"))
    both = [requeued, replace(requeued, occurrence=2), purged]
    assert without_repeated([emptied, *both, replace(purged, name="HGET")]) == [emptied, requeued, purged]


def test_the_table_names_every_point_and_repeats_what_is_not_clean() -> None:
    good = CrashRow(strike=STRIKE, verdict=Verdict.VALID, outcome="once", runs=1)
    lost = replace(
        good,
        strike=CrashStrike(point=POINT, kind=CrashKind.RESET),
        verdict=Verdict.INVALID,
        outcome="lost",
        why="delivery: 1 lost",
        figures={"lost": 1},
    )
    missed = replace(good, strike=CrashStrike(point=POINT, kind=CrashKind.REPLY_LOST), struck=False)
    missed = replace(missed, verdict=Verdict.UNKNOWN, outcome="not struck")
    rows = [good, lost, missed]
    [_, _, line] = table(rows).splitlines()
    assert line.split()[2:] == "5 EVALSHA step.lua #2 once not struck lost".split()  # noqa: SIM905 - a line of text
    assert overall(rows) is Verdict.INVALID
    assert overall([good, missed]) is Verdict.UNKNOWN
    assert summary(rows).startswith(
        "1 point, 2 of 3 strikes made (66.7%): 1 VALID, 1 INVALID, 1 UNKNOWN; 1 lost"
    )
    told = reasons(rows, lambda strike: f"repeat {strike.id}")
    assert told[0].endswith(f"delivery: 1 lost\n        repeat {POINT.id}|reset")
    found = document(
        rows, target="agentexec", version="1", seconds=1.0, repeat=lambda strike: strike.id, seen=SEEN
    )
    assert [row["repeat"] for row in found["rows"]] == [row.strike.id for row in rows]
    assert found["struck"] == 2
