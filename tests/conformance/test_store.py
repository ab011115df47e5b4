"""The statements of the activity store on every database: fenced, safe to send again, races have one winner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine

from agentexec.errors import IdempotencyConflict
from agentexec.identifiers import new_id
from agentexec.store import statements
from agentexec.store.reading import pending, standings
from agentexec.store.rows import ActivityUpdate, LogEntry, NewActivity, Standing, Start, Started
from agentexec.store.status import Status
from tests.support.record import Row, new_activity, require_sound, row_of, starts

T1, T2, T3 = 1_000, 2_000, 3_000


class Record:
    """Each statement in a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tasks: list[UUID] = []

    def queued(self, **options: object) -> UUID:
        activity = new_activity(**options)  # type: ignore[arg-type]  # passed through as it is
        with self.engine.begin() as connection:
            assert statements.record_enqueued(connection, [activity]) == {activity.id: activity.id}
        self.tasks.append(activity.id)
        return activity.id

    def running(self, token: int = T1) -> UUID:
        task = self.queued()
        assert self.start(task, token) == 1
        return task

    def start(
        self, task: UUID, token: int, worker: str = "one", *, lock_key: str | None = None
    ) -> int | None:
        with self.engine.begin() as connection:
            started = start_in(connection, starts({task: token}, worker, lock_key)).get(task)
        return None if started is None else started.attempt

    def append(self, task: UUID, token: int, n: int, message: str = "half") -> None:
        with self.engine.begin() as connection:
            statements.record_progress(
                connection, [LogEntry(id=task, token=token, n=n, message=message, percentage=50)]
            )

    def finish(
        self, task: UUID, token: int, status: Status, n: int = 1, result: object = None
    ) -> Status | None:
        outcomes = [outcome_of(task, token, status, n, result)]
        with self.engine.begin() as connection:
            return finish_in(connection, outcomes).get(task)

    def revoke(self, task: UUID, token: int, status: Status) -> bool:
        with self.engine.begin() as connection:
            return task in statements.record_revoked(connection, {task: token}, status, "Revoked.")

    def terminate(self, task: UUID, token: int, status: Status) -> bool:
        with self.engine.begin() as connection:
            return task in statements.record_terminated(
                connection, {task: token}, status, "Never ran.", "why"
            )

    def cancel(self, *tasks: UUID) -> dict[UUID, Status]:
        with self.engine.begin() as connection:
            return statements.request_cancel(connection, tasks, "Canceled.")

    def row(self, task: UUID) -> Row:
        return row_of(self.engine, task)


def test_a_failed_run_is_counted_and_one_that_was_cut_off_is_not(record: Record) -> None:
    """Retries are for failures: a shutdown or a dead worker in between must not use one up."""
    task = record.running(T1)
    released = outcome_of(task, T1, Status.QUEUED)
    failed = ActivityUpdate(id=task, token=T2, n=1, status=Status.QUEUED, message="Broke.", failed=True)
    with record.engine.begin() as connection:
        finish_in(connection, [released])
        assert one_start(connection, task, T2) == {task: Started(attempt=2, failures=0)}
        assert finish_in(connection, [failed]) == {task: Status.QUEUED}
        assert finish_in(connection, [failed]) == {task: Status.QUEUED}, "sent twice, counted once"
        assert one_start(connection, task, T3) == {task: Started(attempt=3, failures=1)}


def outcome_of(task: UUID, token: int, status: Status, n: int = 1, result: object = None) -> ActivityUpdate:
    error = "broke" if status is Status.ERROR else None
    return ActivityUpdate(
        id=task, token=token, n=n, status=status, message="Over.", result=result, error=error
    )


@pytest.fixture
def record(database: Engine) -> Iterator[Record]:
    record = Record(database)
    yield record
    for task in record.tasks:
        require_sound(record.row(task))


def unchanged(record: Record, task: UUID, work: Callable[[], object]) -> None:
    """Run `work` and show that it left the activity as it was."""
    before = record.row(task)
    work()
    assert record.row(task) == before


def test_a_recorded_task_is_queued_with_its_first_entry(record: Record) -> None:
    row = record.row(record.queued())
    assert (row.status, row.fence, row.attempt, row.dispatched) == ("queued", 0, 0, False)
    assert [(e.status, e.message, e.percentage) for e in row.log] == [("queued", "Waiting.", 0)]


def test_recording_the_same_task_again_answers_the_same_and_changes_nothing(record: Record) -> None:
    activity = new_activity()
    for _ in range(2):
        with record.engine.begin() as connection:
            assert statements.record_enqueued(connection, [activity]) == {activity.id: activity.id}
    assert len(record.row(activity.id).log) == 1


@pytest.mark.parametrize("new_ids", [True, False])
def test_what_tasks_of_a_batch_share_is_kept_apart_from_what_they_do_not(
    record: Record, *, new_ids: bool
) -> None:
    """True and 1 are equal in Python and differ in JSON. A batch of one task shares everything."""
    first, second = new_activity(), new_activity(lock_key="b", delay=60.0)
    first.context, second.context = {"a": 1}, {"a": True}
    first.metadata, second.metadata = {"a": True}, {"a": 1}
    with record.engine.begin() as connection:
        for batch in ([first, second], [alone := new_activity(lock_key="c")]):
            assert statements.record_enqueued(connection, batch, new_ids=new_ids) == {
                a.id: a.id for a in batch
            }
        found = {a.id: a for a in pending(connection, [first.id, second.id, alone.id])}
    assert [repr(found[a.id].context) for a in (first, second)] == ["{'a': 1}", "{'a': True}"]
    assert [found[a.id].lock_key for a in (first, second, alone)] == [None, "b", "c"]
    assert [found[a.id].delay > 0 for a in (first, second, alone)] == [False, True, False]
    assert [e.message for a in (first, second, alone) for e in record.row(a.id).log] == ["Waiting."] * 3


def test_one_idempotency_key_is_one_task_also_within_one_batch(record: Record) -> None:
    key = uuid4().hex
    first = record.queued(idempotency_key=key)
    twins = [new_activity(idempotency_key=key), new_activity(idempotency_key=key)]
    with record.engine.begin() as connection:
        assert statements.record_enqueued(connection, twins) == {twin.id: first for twin in twins}
    other = uuid4().hex
    twins = [new_activity(idempotency_key=other), new_activity(idempotency_key=other), new_activity()]
    with record.engine.begin() as connection:
        recorded = statements.record_enqueued(connection, twins)
    assert recorded[twins[0].id] == recorded[twins[1].id]
    assert recorded[twins[2].id] == twins[2].id
    assert sum(recorded[t.id] == t.id for t in twins) == 2


@pytest.mark.parametrize("other", [{"task_name": "other"}, {"queue_name": "other"}])
def test_one_idempotency_key_is_of_one_task_name_and_queue(record: Record, other: dict[str, Any]) -> None:
    key = uuid4().hex
    first = record.queued(idempotency_key=key)
    innocent, conflict = new_activity(), new_activity(idempotency_key=key, **other)
    with pytest.raises(IdempotencyConflict, match=key), record.engine.begin() as connection:
        statements.record_enqueued(connection, [innocent, conflict])
    assert pending_of(record, [first, innocent.id, conflict.id]) == {first}


def test_one_key_for_two_task_names_within_one_batch_is_refused(record: Record) -> None:
    key = uuid4().hex
    twins = [new_activity(idempotency_key=key, task_name=name) for name in ("one", "two")]
    with pytest.raises(IdempotencyConflict, match=key), record.engine.begin() as connection:
        statements.record_enqueued(connection, twins)
    assert pending_of(record, [twin.id for twin in twins]) == set()


def pending_of(record: Record, tasks: Sequence[UUID]) -> set[UUID]:
    with record.engine.connect() as connection:
        return set(standings(connection, tasks))


def test_a_whole_batch_is_recorded_or_nothing_of_it(record: Record) -> None:
    activities = [new_activity() for _ in range(3)]
    with record.engine.connect() as connection:
        statements.record_enqueued(connection, activities)
        connection.rollback()
    with record.engine.connect() as connection:
        assert standings(connection, [a.id for a in activities]) == {}


def test_a_start_counts_attempts_and_carries_the_token(record: Record) -> None:
    task = record.queued()
    assert record.start(task, T1) == 1
    assert record.start(task, T2) == 2, "a redelivery while the first holder still runs"
    row = record.row(task)
    assert (row.status, row.fence, row.attempt) == ("running", T2, 2)
    assert [(e.fence, e.n, e.status) for e in row.log][1:] == [(T1, 0, "running"), (T2, 0, "running")]


def test_a_start_sent_again_answers_the_same_and_changes_nothing(record: Record) -> None:
    task = record.running(T1)
    unchanged(record, task, lambda: record.start(task, T1))
    assert record.start(task, T1) == 1


def test_a_token_that_a_forgetful_queue_gave_twice_starts_only_one_holder(record: Record) -> None:
    # Found by a simulated failover to a server whose clock is behind, while Postgres was away.
    task = record.queued()
    assert record.start(task, T1, "one") == 1
    assert record.start(task, T1, "two") is None
    assert record.start(task, T1, "one") == 1
    assert record.start(task, T2, "two") == 2
    assert record.start(task, T1, "one") is None


@pytest.mark.invariant("I11")
def test_a_task_does_not_start_while_another_one_runs_under_its_lock_key(record: Record) -> None:
    # A queue that failed over to a server without the last second gives out both.
    key = uuid4().hex
    first, second, other = (record.queued(lock_key=one) for one in (key, key, uuid4().hex))
    assert record.start(first, T1) == 1
    assert record.start(second, T2) is None
    assert record.start(other, T2) == 1
    record.finish(first, T1, Status.COMPLETE)
    assert record.start(second, T2) == 1


def test_two_running_tasks_of_one_lock_key_can_both_start_again(
    record: Record,
) -> None:
    # Two starts at the same instant may miss each other; SQLite has no such instant, so the key comes later here.
    first, second, key = record.queued(), record.queued(), uuid4().hex
    assert record.start(first, T1) == 1
    assert record.start(second, T1) == 1
    assert record.start(first, T2, lock_key=key) == 2
    assert record.start(second, T2, lock_key=key) == 2
    assert record.start(first, T3, lock_key=key) == 3


@pytest.mark.invariant("I11")
def test_a_lock_key_that_only_the_worker_knew_is_in_the_record_from_the_start_on(record: Record) -> None:
    first, second, key = record.queued(), record.queued(), uuid4().hex
    assert record.start(first, T1, lock_key=key) == 1
    assert record.start(second, T2, lock_key=key) is None
    with record.engine.connect() as connection:
        assert [one.lock_key for one in pending(connection, [first])] == [key]


@pytest.mark.invariant("I3")
def test_a_start_under_a_lower_token_is_refused(record: Record) -> None:
    task = record.running(T2)
    unchanged(record, task, lambda: record.start(task, T1))
    assert record.start(task, T1) is None


def test_a_start_under_a_token_that_was_released_is_refused(record: Record) -> None:
    """Its holder lost the task and the loss was recorded; only a new claim may run it."""
    task = record.running(T1)
    record.finish(task, T1, Status.QUEUED)
    assert record.start(task, T1) is None
    assert record.start(task, T2) == 2


def test_a_start_of_what_was_never_recorded_is_left_out(record: Record) -> None:
    assert record.start(new_id(), T1) is None


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("status", [Status.COMPLETE, Status.ERROR, Status.CANCELED])
def test_a_terminal_activity_absorbs_everything(record: Record, status: Status) -> None:
    task = record.running(T1)
    record.append(task, T1, 1)
    assert record.finish(task, T1, status, n=2, result={"answer": [1, None, "\N{SNOWMAN}"]}) is status
    row = record.row(task)
    assert (row.status, row.result) == (status.value, {"answer": [1, None, "\N{SNOWMAN}"]})

    def everything() -> None:
        assert record.start(task, T2) is None
        assert record.cancel(task) == {}
        assert not record.revoke(task, T1, Status.QUEUED)
        assert not record.terminate(task, T3, Status.ERROR)
        record.append(task, T1, 3)
        for other in {Status.COMPLETE, Status.ERROR, Status.QUEUED} - {status}:
            record.finish(task, T1, other, n=3)
            record.finish(task, T2, other, n=3)

    unchanged(record, task, everything)


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.ERROR, Status.CANCELED, Status.QUEUED])
def test_an_outcome_sent_again_is_accepted_again_and_changes_nothing(record: Record, status: Status) -> None:
    task = record.running(T1)
    assert record.finish(task, T1, status, result="x") is status
    unchanged(record, task, lambda: record.finish(task, T1, status, result="y"))
    assert record.finish(task, T1, status) is status


@pytest.mark.invariant("I4")
def test_a_late_holder_is_refused_everything_once_another_has_started(record: Record) -> None:
    task = record.running(T1)
    record.start(task, T2)

    def zombie() -> None:
        record.append(task, T1, 1)
        assert not record.revoke(task, T1, Status.QUEUED)
        for status in (Status.COMPLETE, Status.ERROR, Status.QUEUED, Status.CANCELED):
            assert record.finish(task, T1, status) is None

    unchanged(record, task, zombie)
    assert record.finish(task, T2, Status.COMPLETE) is Status.COMPLETE


def test_a_holder_from_the_future_is_refused_as_well(record: Record) -> None:
    """A token that never started here: a claim whose start was refused or has not been written."""
    task = record.running(T1)
    unchanged(record, task, lambda: record.finish(task, T2, Status.COMPLETE))
    unchanged(record, task, lambda: record.append(task, T2, 1))


@pytest.mark.invariant("I7")
def test_progress_is_kept_in_order_and_written_once(record: Record) -> None:
    task = record.running(T1)
    entries = [LogEntry(id=task, token=T1, n=n, message=f"step {n}", percentage=10 * n) for n in (1, 2, 3)]
    for _ in range(2):
        with record.engine.begin() as connection:
            statements.record_progress(connection, entries)
    log = record.row(task).log[1:]
    assert [(e.n, e.message, e.percentage) for e in log[1:]] == [(n, f"step {n}", 10 * n) for n in (1, 2, 3)]


def test_progress_after_the_end_of_a_claim_is_refused(record: Record) -> None:
    task = record.running(T1)
    record.revoke(task, T1, Status.QUEUED)
    unchanged(record, task, lambda: record.append(task, T1, 2))


@pytest.mark.invariant("I8")
def test_record_revoked_takes_the_next_free_number(record: Record) -> None:
    task = record.running(T1)
    record.append(task, T1, 1)
    record.append(task, T1, 2)
    assert record.revoke(task, T1, Status.QUEUED)
    row = record.row(task)
    assert (row.status, row.fence) == ("queued", T1)
    assert [e.n for e in row.log if e.fence == T1] == [0, 1, 2, 3]
    unchanged(record, task, lambda: record.revoke(task, T1, Status.QUEUED))


def test_record_revoked_does_not_contradict_the_end_that_the_holder_recorded(record: Record) -> None:
    task = record.running(T1)
    record.finish(task, T1, Status.COMPLETE)
    assert not record.revoke(task, T1, Status.ERROR)


def test_record_revoked_ends_a_task_with_a_cancel_request(record: Record) -> None:
    task = record.running(T1)
    record.cancel(task)
    assert record.revoke(task, T1, Status.QUEUED)
    assert record.row(task).status == "canceled"


@pytest.mark.invariant("I6")
def test_a_late_update_is_refused_after_record_revoked_ended_the_task(record: Record) -> None:
    """Accepting it would publish a result of a task that the record calls canceled."""
    task = record.running(T1)
    record.cancel(task)
    record.revoke(task, T1, Status.QUEUED)
    assert record.finish(task, T1, Status.COMPLETE, result="late") is None
    assert record.finish(task, T1, Status.ERROR) is None


def test_what_never_ran_is_ended_under_the_given_token(record: Record) -> None:
    task = record.queued()
    assert record.terminate(task, T1, Status.ERROR)
    row = record.row(task)
    assert (row.status, row.fence, row.error) == ("error", T1, "why")
    unchanged(record, task, lambda: record.terminate(task, T2, Status.ERROR))


def test_an_end_without_a_start_does_not_touch_a_newer_holder(record: Record) -> None:
    task = record.running(T2)
    unchanged(record, task, lambda: record.terminate(task, T1, Status.ERROR))
    assert not record.terminate(task, T2, Status.ERROR), "nor that holder itself"


def test_a_queued_task_is_canceled_at_once_and_never_starts(record: Record) -> None:
    task = record.queued()
    assert record.cancel(task) == {task: Status.CANCELED}
    assert record.start(task, T1) is None
    unchanged(record, task, lambda: record.cancel(task))


def test_a_retried_task_is_canceled_at_once_with_the_next_number_of_its_log(record: Record) -> None:
    task = record.running(T1)
    record.finish(task, T1, Status.QUEUED)
    assert record.cancel(task) == {task: Status.CANCELED}
    assert [(e.fence, e.n, e.status) for e in record.row(task).log][-1] == (T1, 2, "canceled")


@pytest.mark.invariant("I6")
def test_a_running_task_is_flagged_and_not_started_again(record: Record) -> None:
    task = record.running(T1)
    assert record.cancel(task) == {task: Status.RUNNING}
    assert record.row(task).cancel_requested
    assert record.start(task, T2) is None, "a redelivery must not run a task with a cancel request"
    unchanged(record, task, lambda: record.cancel(task))


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (Status.COMPLETE, Status.COMPLETE),
        (Status.ERROR, Status.ERROR),
        (Status.CANCELED, Status.CANCELED),
        (Status.QUEUED, Status.CANCELED),
    ],
)
def test_a_flagged_task_may_still_end_by_itself_but_not_be_retried(
    record: Record, said: Status, becomes: Status
) -> None:
    task = record.running(T1)
    record.cancel(task)
    assert record.finish(task, T1, said) is becomes
    assert record.finish(task, T1, said) is becomes, "also when it is sent again"
    assert record.row(task).status == becomes.value


def test_canceling_names_each_task_once_however_often_it_is_asked_for(record: Record) -> None:
    task, other = record.queued(), record.running(T1)
    standing = record.cancel(task, other, task, other, new_id())
    assert standing == {task: Status.CANCELED, other: Status.RUNNING}


def test_dispatch_is_marked_once(record: Record) -> None:
    task, other = record.queued(), record.queued()
    for _ in range(2):
        with record.engine.begin() as connection:
            statements.mark_dispatched(connection, [task, new_id()])
    assert (record.row(task).dispatched, record.row(other).dispatched) == (True, False)


def test_the_status_of_known_tasks_is_returned(record: Record) -> None:
    task = record.running(T1)
    record.cancel(task)
    with record.engine.connect() as connection:
        assert standings(connection, []) == {}
        found = standings(connection, [task, new_id()])
    assert found == {task: Standing(status=Status.RUNNING, fence=T1, cancel_requested=True)}


def test_what_is_pending_is_given_back_as_it_was_enqueued(record: Record) -> None:
    queued, running, delayed, over = (
        record.queued(),
        record.running(),
        record.queued(delay=60, lock_key="k"),
        record.running(),
    )
    record.finish(over, T1, Status.COMPLETE)
    with record.engine.connect() as connection:
        found = {a.id: a for a in pending(connection, [queued, running, delayed, over, new_id()])}
    assert set(found) == {queued, running, delayed}
    assert found[queued].context == {"text": "why? \N{SNOWMAN}"}
    assert (found[queued].task_name, found[queued].priority, found[queued].delay) == ("task", 1, 0)
    assert found[delayed].delay == pytest.approx(60, abs=5)
    assert (found[queued].lock_key, found[delayed].lock_key) == (None, "k")


def test_a_mixed_batch_treats_each_task_by_itself(record: Record) -> None:
    good, stale, over = record.running(T1), record.running(T2), record.running(T1)
    record.finish(over, T1, Status.ERROR)
    with record.engine.begin() as connection:
        outcomes = [outcome_of(task, T1, Status.COMPLETE) for task in (over, good, stale)]
        accepted = finish_in(connection, outcomes)
    assert accepted == {good: Status.COMPLETE}
    assert [record.row(task).status for task in (good, stale, over)] == ["complete", "running", "error"]


@pytest.mark.invariant("I8")
def test_the_last_entry_and_the_status_are_durable_together(record: Record) -> None:
    task = record.running(T1)

    def undone() -> None:
        with record.engine.connect() as connection:
            statements.record_progress(connection, [LogEntry(id=task, token=T1, n=1, message="last")])
            finish_in(connection, [outcome_of(task, T1, Status.COMPLETE, n=2)])
            connection.rollback()

    unchanged(record, task, undone)


def test_hostile_text_is_only_text(record: Record) -> None:
    text = "'; DROP TABLE x; -- :rows AS v :now %s {} \\u0000 \" \N{SNOWMAN}"
    activity = NewActivity(
        id=new_id(),
        queue_name=text,
        task_name=text,
        context={text: text},
        priority=0,
        message=text,
        metadata={text: [text]},
    )
    with record.engine.begin() as connection:
        statements.record_enqueued(connection, [activity])
        (found,) = pending(connection, [activity.id])
    assert (found.queue_name, found.task_name, found.context) == (text, text, {text: text})
    assert record.row(activity.id).log[0].message == text


def race(engine: Engine, *works: Callable[[Connection], Any]) -> list[Any]:
    """Run each function in its own transaction and thread, all started together; returns their results in order."""
    together = threading.Barrier(len(works))

    def run(work: Callable[[Connection], Any]) -> Any:
        with engine.begin() as connection:
            # A transaction of SQLite holds the only lock from its beginning.
            if engine.dialect.name == "postgresql":
                together.wait(timeout=10)
            return work(connection)

    with ThreadPoolExecutor(len(works)) as threads:
        return [future.result(timeout=30) for future in [threads.submit(run, work) for work in works]]


def one_outcome(connection: Connection, task: UUID, status: Status) -> dict[UUID, Status]:
    """The end of one run."""
    return finish_in(connection, [outcome_of(task, T1, status)])


def one_start(connection: Connection, task: UUID, token: int) -> dict[UUID, Started]:
    """The start of one run."""
    return start_in(connection, starts({task: token}))


def start_in(connection: Connection, runs: Sequence[Start]) -> dict[UUID, Started]:
    """Start runs; returns those that may run."""
    return statements.record_batch(connection, runs, [])[0]


def finish_in(connection: Connection, updates: Sequence[ActivityUpdate]) -> dict[UUID, Status]:
    """End runs; returns the status of each accepted one."""
    return statements.record_batch(connection, [], updates)[1]


@pytest.fixture
def racetrack(postgres_of_each_kind: Engine) -> Record:
    """Where two connections can race."""
    return Record(postgres_of_each_kind)


@pytest.mark.integration
def test_completing_and_canceling_at_once_has_one_winner(racetrack: Record) -> None:
    for _ in range(20):
        task = racetrack.running(T1)
        accepted, standing = race(
            racetrack.engine,
            partial(one_outcome, task=task, status=Status.COMPLETE),
            partial(statements.request_cancel, ids=[task], message="Canceled."),
        )
        assert accepted == {task: Status.COMPLETE}
        assert standing in ({}, {task: Status.RUNNING})
        require_sound(racetrack.row(task))


@pytest.mark.integration
def test_retrying_and_canceling_at_once_never_leaves_the_task_queued(racetrack: Record) -> None:
    for _ in range(20):
        task = racetrack.running(T1)
        race(
            racetrack.engine,
            partial(one_outcome, task=task, status=Status.QUEUED),
            partial(statements.request_cancel, ids=[task], message="Canceled."),
        )
        row = racetrack.row(task)
        assert row.status == "canceled"
        require_sound(row)


@pytest.mark.integration
def test_starting_and_canceling_at_once_has_one_winner(racetrack: Record) -> None:
    for _ in range(20):
        task = racetrack.queued()
        started, standing = race(
            racetrack.engine,
            partial(one_start, task=task, token=T1),
            partial(statements.request_cancel, ids=[task], message="Canceled."),
        )
        assert (started, standing) in (
            ({task: Started(1, 0)}, {task: Status.RUNNING}),
            ({}, {task: Status.CANCELED}),
        )
        require_sound(racetrack.row(task))


@pytest.mark.integration
def test_record_revoked_a_holder_and_progress_at_once_leave_a_sound_log(racetrack: Record) -> None:
    for _ in range(20):
        task = racetrack.running(T1)
        accepted, revoked, _ = race(
            racetrack.engine,
            partial(one_outcome, task=task, status=Status.COMPLETE),
            partial(statements.record_revoked, tokens={task: T1}, status=Status.QUEUED, message="Gone."),
            partial(one_start, task=task, token=T2),
        )
        assert not (accepted and revoked)
        require_sound(racetrack.row(task))


@pytest.mark.integration
def test_batches_over_the_same_rows_in_different_order_do_not_deadlock(racetrack: Record) -> None:
    tasks = [racetrack.running(T1) for _ in range(60)]
    entries = [LogEntry(id=task, token=T1, n=1, message="half") for task in tasks]
    outcomes = [outcome_of(task, T1, Status.COMPLETE, n=2) for task in tasks]

    def write(connection: Connection) -> None:
        statements.record_progress(connection, entries[::-1])
        finish_in(connection, outcomes[::-1])

    race(
        racetrack.engine,
        partial(start_in, runs=starts(dict.fromkeys(tasks, T1))),
        partial(statements.request_cancel, ids=tasks[::-1], message="Canceled."),
        write,
    )
    for task in tasks:
        assert racetrack.row(task).status == "complete"
    assert len({e.n for e in racetrack.row(tasks[0]).log if e.fence == T1}) in (2, 3)


@pytest.mark.integration
def test_one_idempotency_key_is_one_task_also_between_producers(racetrack: Record) -> None:
    for _ in range(20):
        twins = [new_activity(idempotency_key=key) for key in [uuid4().hex] * 3]
        answers = race(
            racetrack.engine,
            *[partial(statements.record_enqueued, activities=[twin]) for twin in twins],
        )
        assert len({recorded for answer in answers for recorded in answer.values()}) == 1


@pytest.mark.integration
def test_one_idempotency_key_is_of_one_task_name_also_between_producers(racetrack: Record) -> None:
    def record(connection: Connection, key: str, task_name: str) -> str:
        try:
            statements.record_enqueued(connection, [new_activity(idempotency_key=key, task_name=task_name)])
        except IdempotencyConflict:
            return "refused"
        return "recorded"

    for _ in range(20):
        key = uuid4().hex
        answers = race(
            racetrack.engine, *[partial(record, key=key, task_name=name) for name in ("one", "two", "three")]
        )
        assert sorted(answers) == ["recorded", "refused", "refused"]
