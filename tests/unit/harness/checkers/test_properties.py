"""Properties of the checkers over any run, shown on generated runs."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers import (
    account,
    delivery,
    effects,
    fencing,
    locks,
    progress,
    recovery,
    standard,
    transitions,
)
from harness.checkers.base import Verdict, check_all
from harness.history import History, Operation, OperationType
from tests.support.histories import FAIL, INFO, HistoryBuilder


@dataclass(frozen=True, kw_only=True)
class Task:
    """How one generated task goes: how it was answered, how often its worker is killed, how it is slowed down."""

    answer: OperationType | None
    kills: int
    progress: int
    gap: int


TASKS = st.lists(
    st.builds(
        Task,
        answer=st.sampled_from([OperationType.OK] * 4 + [INFO, None]),
        kills=st.integers(0, 3),
        progress=st.integers(0, 3),
        gap=st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)


BEGUN = (("queued", 0, 0), ("running", 1, 0))


def good_run(tasks: list[Task]) -> HistoryBuilder:
    """A run as a correct system would leave it: every kill is followed by another try, every task completes.

    All tasks share one lock key, take their effect in each attempt, and report their progress.
    """
    builder, pid = HistoryBuilder().locked("key", *range(len(tasks))), 100
    builder.enqueued(1000).effect(1000, by=99).ran(1000, by=99).recorded(1000).enqueued(1001)
    builder.began(1001, by=98).killed(98).effect(1001, by=99, fence=2).ran(1001, by=99, fence=2)
    builder.recorded(1001, fence=2)
    builder.logged(1000, *BEGUN, ("complete", 1, 1)).logged(
        1001, *BEGUN, ("running", 2, 0), ("complete", 2, 1)
    )
    for number, task in enumerate(tasks):
        rows: list[tuple[str, int, int, int]] = [("queued", 0, 0, 0)]
        fence = 1
        builder.enqueued(number, outcome=task.answer)
        for _ in range(task.kills):
            pid += 1
            rows.append(("running", fence, 0, 0))
            builder.began(number, by=pid, fence=fence).effect(number, by=pid, fence=fence)
            builder.reported(number, 10, by=pid, fence=fence).killed(pid)
            fence += 1 + task.gap
        pid += 1
        rows += [("running", fence, n, n * 10) for n in range(task.progress + 1)]
        rows.append(("complete", fence, task.progress + 1, 100))
        builder.began(number, by=pid, fence=fence).effect(number, by=pid, fence=fence)
        builder.reported(number, *(n * 10 for n in range(1, task.progress + 1)), by=pid, fence=fence)
        builder.ended(number, by=pid, fence=fence).recorded(number, fence=fence).logged(number, *rows)
    return builder.queue(held=[]).exited()


@given(TASKS)
@settings(max_examples=60, deadline=None)
def test_every_good_run_is_valid_to_every_standard_checker(tasks: list[Task]) -> None:
    results = check_all(standard(uses=("effects", "locks", "progress")), good_run(tasks).history)
    good = (Verdict.VALID, Verdict.NOT_ASKED)  # NOT ASKED: too few tasks to compare
    assert {name: one.summary for name, one in results.items() if one.verdict not in good} == {}


def without(history: History, f: str, task: int, *kinds: OperationType) -> History:
    kept = (
        op
        for op in history
        if not (op.f == f and op.value["task"] == task and (not kinds or op.type in kinds))
    )
    return History.of(kept)


@given(TASKS, st.data())
@settings(max_examples=60, deadline=None)
def test_one_lost_acknowledged_task_is_found_and_named(tasks: list[Task], data: st.DataObject) -> None:
    history = good_run(tasks).history
    task = data.draw(st.sampled_from(sorted(account(history).acknowledged)))
    f, kinds = data.draw(st.sampled_from([("record", ()), ("run", (OperationType.OK,))]))
    result = delivery()(without(history, f, task, *kinds))
    assert result.verdict is Verdict.INVALID
    assert [one["task"] for one in result.counterexamples if one["kind"] == "lost"] == [task]


@given(TASKS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_task_without_an_enqueue_is_unexpected(tasks: list[Task], data: st.DataObject) -> None:
    history = good_run(tasks).history
    task = data.draw(st.sampled_from(range(len(tasks))))
    kept = list(without(history, "enqueue", task, OperationType.OK, OperationType.INFO))
    kept.append(
        Operation(
            time=history.operations[-1].time, process="client", type=FAIL, f="enqueue", value={"task": task}
        )
    )
    result = delivery()(History.of(kept))
    assert result.verdict is Verdict.INVALID
    assert [one["task"] for one in result.counterexamples if one["kind"] == "unexpected"] == [task]


@given(TASKS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_row_torn_out_of_a_log_is_noticed_for_its_activity_alone(
    tasks: list[Task], data: st.DataObject
) -> None:
    history = good_run(tasks).history
    rows = [op for op in history if op.f == "transition"]
    torn = data.draw(st.sampled_from(rows))
    before = transitions()(history)
    after = transitions()(History.of(op for op in history if op is not torn))
    assert before.verdict is Verdict.VALID
    assert {one["task"] for one in after.counterexamples} <= {torn.value["task"]}
    is_whole_fence = torn.value["status"] == "running" and not any(
        op is not torn and op.value["task"] == torn.value["task"] and op.value["fence"] == torn.value["fence"]
        for op in rows
    )
    # An attempt of a single row that vanishes whole is a suffix that was lost, which is allowed.
    assert after.verdict is (Verdict.VALID if is_whole_fence else Verdict.INVALID)


@given(TASKS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_store_that_went_back_to_an_older_fence_is_caught(tasks: list[Task], data: st.DataObject) -> None:
    history = good_run(tasks).history
    victim = data.draw(st.sampled_from([op for op in history if op.f == "record"]))
    older = Operation(
        time=victim.time,
        process=victim.process,
        type=victim.type,
        f=victim.f,
        value={**victim.value, "fence": victim.value["fence"] - 1},
    )
    result = fencing()(History.of(older if op is victim else op for op in history))
    assert result.verdict is Verdict.INVALID
    assert {one["task"] for one in result.counterexamples} == {victim.value["task"]}


@given(TASKS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_winner_without_its_effect_and_a_report_that_is_gone_are_caught_and_named(
    tasks: list[Task], data: st.DataObject
) -> None:
    history = good_run(tasks).history
    task = data.draw(st.sampled_from(range(len(tasks))))
    winner = next(op.value["fence"] for op in history.where("record") if op.value["task"] == task)
    robbed = History.of(
        op
        for op in history
        if not (op.f == "effect" and (op.value["task"], op.value["fence"]) == (task, winner))
    )
    result = effects()(robbed)
    assert result.verdict is Verdict.INVALID
    assert {(one["kind"], one["task"]) for one in result.counterexamples} == {("missing", task)}
    reports = [
        op for op in history.where("report") if (op.value["task"], op.value["fence"]) == (task, winner)
    ]
    if reports and len(list(history.where("report"))) > 1:  # without any, handlers seem to record none
        torn = data.draw(st.sampled_from(reports))
        result = progress()(History.of(op for op in history if op is not torn))
        assert result.verdict is Verdict.INVALID
        assert {(one["kind"], one["task"]) for one in result.counterexamples} == {("garbled", task)}


@given(TASKS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_run_that_begins_before_the_lock_is_free_is_found(tasks: list[Task], data: st.DataObject) -> None:
    history = good_run(tasks).history
    ends = [op for op in history.where("run", OperationType.OK) if op.value.get("lock")]
    assert locks()(history).verdict is Verdict.VALID
    if len(ends) > 1:
        late = data.draw(st.sampled_from(ends[:-1]))
        after = next(op.time for op in history.where("run", OperationType.INVOKE) if op.time > late.time)
        moved = Operation(time=after + 1, process=late.process, type=late.type, f=late.f, value=late.value)
        result = locks()(History.of(moved if op is late else op for op in history))
        assert result.verdict is Verdict.INVALID
        assert {one["with"] for one in result.counterexamples} == {late.value["task"]}


def coarse(operations: list[Operation], grain: int) -> list[Operation]:
    return [
        Operation(time=op.time // grain * grain, process=op.process, type=op.type, f=op.f, value=op.value)
        for op in operations
    ]


@given(TASKS, st.randoms(use_true_random=False), st.sampled_from([1, 3_000_000, 10_000_000, 10**12]))
@settings(max_examples=60, deadline=None)
def test_operations_of_one_moment_may_come_from_their_files_in_any_order(
    tasks: list[Task], random: object, grain: int
) -> None:
    operations = coarse(good_run(tasks).operations, grain)
    processes = sorted({op.process for op in operations})
    random.shuffle(processes)  # type: ignore[attr-defined]  # Hypothesis types its Random as object
    files = [op for process in processes for op in operations if op.process == process]
    checkers = {**standard(), "recovery": recovery(2.0)}
    one, other = check_all(checkers, History.of(operations)), check_all(checkers, History.of(files))
    assert [(r.verdict, r.figures) for r in one.values()] == [(r.verdict, r.figures) for r in other.values()]
