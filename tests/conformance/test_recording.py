"""A batch of a worker on every database: one task's data, and an event between two statements, cost no other task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text

from agentexec.config import load_settings
from agentexec.queue.protocol import Claim, Disposition
from agentexec.store import statements
from agentexec.store.dead_letters import dead_letter_rows
from agentexec.store.dialects import ACTIVITY_TABLE, LOG_TABLE, STATEMENT_BYTES
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.worker import recording
from agentexec.worker.recording import Batch, record
from agentexec.worker.retrying import Retrying
from tests.support.record import Row, new_activity, require_sound, row_of, starts

SETTINGS = load_settings()
TOKEN = 5


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


UNENCODABLE = {
    "half-a-surrogate-pair": "\ud800",
    "object": object(),
    "nested-too-deep": deep(100_000),
}


class Worker:
    """A worker's side of the record, without a queue."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def queued(self, count: int = 1) -> list[UUID]:
        activities = [new_activity() for _ in range(count)]
        with self.engine.begin() as connection:
            statements.record_enqueued(connection, activities)
        return [activity.id for activity in activities]

    def running(self, count: int = 1, token: int = TOKEN) -> list[UUID]:
        tasks = self.queued(count)
        with self.engine.begin() as connection:
            statements.record_batch(connection, starts(dict.fromkeys(tasks, token)), [])
        return tasks

    def record(self, batch: Batch) -> recording.Recorded:
        return record(Retrying(self.engine, lambda: False), batch, SETTINGS)

    def row(self, task: UUID) -> Row:
        row = row_of(self.engine, task)
        require_sound(row)
        return row


@pytest.fixture
def worker(database: Engine) -> Worker:
    return Worker(database)


def claim(task: UUID, token: int = TOKEN) -> Claim:
    return Claim(task_id=task, token=token, payload=b"{}")


def complete(task: UUID, result: Any = None, **options: Any) -> ActivityUpdate:
    update: dict[str, Any] = {"token": TOKEN, "n": 1, "status": Status.COMPLETE, "message": "Done."}
    return ActivityUpdate(id=task, result=result, **update | options)


@contextmanager
def refusing(engine: Engine, table: str, condition: str) -> Iterator[None]:
    """The database refuses rows for which the condition on NEW holds."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            for event in ("INSERT", "UPDATE"):
                connection.execute(
                    text(
                        f"CREATE TRIGGER refuse_{event} BEFORE {event} ON {table} WHEN {condition} "
                        "BEGIN SELECT RAISE(ABORT, 'not this row'); END"
                    )
                )
        else:
            connection.execute(
                text(
                    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN IF {condition} THEN RAISE EXCEPTION 'not this row'; END IF; RETURN NEW; END $$"
                )
            )
            connection.execute(
                text(
                    f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION refuse()"
                )
            )
    try:
        yield
    finally:
        with engine.begin() as connection:
            names = ("refuse_INSERT", "refuse_UPDATE") if engine.dialect.name == "sqlite" else ("refuse",)
            on = "" if engine.dialect.name == "sqlite" else f" ON {table}"
            for name in names:
                connection.execute(text(f"DROP TRIGGER {name}{on}"))


def named(engine: Engine, task: UUID, column: str = "id") -> str:
    return f"NEW.{column} = '{task.hex if engine.dialect.name == 'sqlite' else task}'"


@pytest.mark.parametrize("kind", UNENCODABLE)
def test_a_result_that_no_statement_can_carry_fails_its_own_task_alone(worker: Worker, kind: str) -> None:
    tasks, new = worker.running(7), worker.queued(2)
    bad = tasks[3]
    updates = [complete(task, UNENCODABLE[kind] if task == bad else {"n": 1}) for task in tasks]
    recorded = worker.record(Batch(claims=[claim(task) for task in new], updates=updates))
    assert set(recorded.started) == set(new)
    assert recorded.failed.keys() == {bad}
    assert recorded.accepted == dict.fromkeys(tasks, Status.COMPLETE) | {bad: Status.ERROR}
    row = worker.row(bad)
    assert (row.status, row.result) == ("error", None)
    assert "the database refuses it" in str(row.error)
    assert {worker.row(task).status for task in tasks if task != bad} == {"complete"}


def test_a_row_that_the_database_refuses_ends_with_the_reason_and_the_others_are_recorded(
    worker: Worker,
) -> None:
    """The refusal is one of the server's, so nothing in this process can foresee it."""
    tasks = worker.running(5)
    bad = tasks[1]
    condition = f"{named(worker.engine, bad)} AND NEW.status = 'complete'"
    with refusing(worker.engine, ACTIVITY_TABLE, condition):
        recorded = worker.record(Batch(updates=[complete(task) for task in tasks]))
    assert recorded.accepted[bad] is Status.ERROR
    assert "not this row" in str(worker.row(bad).error)
    assert {worker.row(task).status for task in tasks if task != bad} == {"complete"}


def test_a_start_that_the_database_refuses_ends_as_a_dead_letter_with_the_reason(worker: Worker) -> None:
    new, tasks = worker.queued(3), worker.running(2)
    bad = new[1]
    batch = Batch(claims=[claim(task) for task in new], updates=[complete(task) for task in tasks])
    with refusing(worker.engine, ACTIVITY_TABLE, f"{named(worker.engine, bad)} AND NEW.status = 'running'"):
        recorded = worker.record(batch)
    assert set(recorded.started) == {new[0], new[2]}
    finish, fence = recorded.refused[bad]
    assert (finish.disposition, finish.token, fence) == (Disposition.DEAD_LETTER, TOKEN, None)
    assert "not this row" in finish.reason
    row = worker.row(bad)
    assert (row.status, row.attempt) == ("error", 0)
    assert {worker.row(task).status for task in tasks} == {"complete"}
    with worker.engine.connect() as connection:
        letters = dead_letter_rows(connection, new_activity().queue_name, new)
    assert [(row.id, row.error) for row, _ in letters] == [(bad, finish.reason)]


def test_a_task_whose_error_is_refused_as_well_is_a_dead_letter_and_costs_no_other(worker: Worker) -> None:
    new, tasks = worker.queued(2), worker.running(2)
    batch = Batch(claims=[claim(task) for task in new], updates=[complete(task) for task in tasks])
    conditions = [named(worker.engine, bad) for bad in (new[0], tasks[0])]
    with refusing(worker.engine, ACTIVITY_TABLE, " OR ".join(conditions)):
        recorded = worker.record(batch)
    assert recorded.refused[new[0]].finish.disposition is Disposition.DEAD_LETTER
    assert recorded.accepted == {tasks[0]: Status.ERROR, tasks[1]: Status.COMPLETE}
    assert set(recorded.started) == {new[1]}


def test_progress_that_the_database_refuses_leaves_no_hole_in_the_log(worker: Worker) -> None:
    first, second = worker.running(2)
    entries = [LogEntry(id=first, token=TOKEN, n=n, message=f"step {n}") for n in (1, 2, 3)]
    entries += [LogEntry(id=second, token=TOKEN, n=1, message="of another")]
    with refusing(worker.engine, LOG_TABLE, "NEW.message = 'step 2'"):
        worker.record(Batch(entries=entries))
    assert [entry.message for entry in worker.row(first).log[2:]][::2] == ["step 1", "step 3"]
    assert "left out" in worker.row(first).log[3].message
    assert worker.row(second).log[2].message == "of another"


def test_progress_that_no_statement_can_carry_leaves_no_hole_in_the_log(worker: Worker) -> None:
    (task,) = worker.running()
    entries = [LogEntry(id=task, token=TOKEN, n=n, message=m) for n, m in ((1, "a"), (2, "b"))]
    entries[0] = LogEntry(id=task, token=TOKEN, n=1, message="a", percentage=object())  # type: ignore[arg-type]  # tested
    worker.record(Batch(entries=entries))
    assert [entry.n for entry in worker.row(task).log[2:]] == [1, 2]


def test_a_claim_that_can_never_run_is_an_error_with_its_reason(worker: Worker) -> None:
    new = worker.queued(2)
    batch = Batch(claims=[claim(task) for task in new], unfit={new[0]: "its lock key is too long"})
    recorded = worker.record(batch)
    assert set(recorded.started) == {new[1]}
    assert recorded.refused[new[0]].finish.reason == "its lock key is too long"
    assert (worker.row(new[0]).status, worker.row(new[0]).error) == ("error", "its lock key is too long")


def test_a_claim_that_can_never_run_and_is_over_is_only_finished(worker: Worker) -> None:
    canceled, outranked = worker.queued(2)
    with worker.engine.begin() as connection:
        statements.request_cancel(connection, [canceled], "No.")
        statements.record_batch(connection, starts({outranked: TOKEN + 3}), [])
    batch = Batch(claims=[claim(canceled), claim(outranked)], unfit={canceled: "never", outranked: "never"})
    refused = worker.record(batch).refused
    assert refused[canceled].finish.disposition is Disposition.ACK
    assert (refused[outranked].finish.disposition, refused[outranked].fence) == (
        Disposition.RETRY,
        TOKEN + 3,
    )
    assert (worker.row(canceled).status, worker.row(outranked).status) == ("canceled", "running")


def after_the_statement(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, event: Callable[[Connection], object]
) -> None:
    """Let something happen between the statement of a batch and the next one."""
    write = statements.record_batch

    def record_batch(connection: Connection, *rows: Any) -> Any:
        answer = write(connection, *rows)
        connection.commit()
        with engine.connect() as other:
            event(other)
            other.commit()
        return answer

    monkeypatch.setattr(statements, "record_batch", record_batch)


def cancel(*tasks: UUID) -> Callable[[Connection], object]:
    return lambda connection: statements.request_cancel(connection, list(tasks), "No.")


EVENTS: dict[str, Callable[[UUID], Callable[[Connection], object]]] = {
    "cancel": cancel,
    "end": lambda task: lambda c: statements.record_terminated(c, {task: 99}, Status.ERROR, "No.", "no"),
    "delete": lambda task: (
        lambda c: c.execute(
            text(f"DELETE FROM {ACTIVITY_TABLE} WHERE id IN (:dashed, :plain)"),
            {"dashed": str(task), "plain": task.hex},
        )
    ),
}


@pytest.mark.parametrize("event", ["cancel", "end", "delete"])
@pytest.mark.parametrize("state", ["running-elsewhere", "locked", "running-flagged"])
def test_an_event_between_two_statements_leaves_an_answer_for_every_claim(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, event: str, state: str
) -> None:
    """The reason of a refusal is read after the refusal; by then the row may be in any state."""
    task, innocent = worker.queued(2)
    with worker.engine.begin() as connection:
        if state == "running-elsewhere":
            statements.record_batch(connection, starts({task: TOKEN + 1}, worker="other"), [])
        elif state == "running-flagged":
            statements.record_batch(connection, starts({task: TOKEN - 1}), [])
            statements.request_cancel(connection, [task], "No.")
    lock_keys: dict[UUID, str] = {}
    if state == "locked":
        key = f"lock {task}"
        (neighbour,) = worker.queued()
        with worker.engine.begin() as connection:
            statements.record_batch(connection, starts({neighbour: TOKEN}, lock_key=key), [])
        lock_keys = {task: key}
    after_the_statement(monkeypatch, worker.engine, EVENTS[event](task))
    recorded = worker.record(Batch(claims=[claim(task), claim(innocent)], lock_keys=lock_keys))
    assert set(recorded.started) == {innocent}
    finish, fence = recorded.refused[task]
    assert finish.token == TOKEN
    assert (fence is not None) == (finish.disposition is Disposition.RETRY)


@pytest.mark.parametrize("event", ["cancel", "end", "delete"])
def test_an_event_between_two_statements_leaves_an_answer_for_every_end(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    task, innocent = worker.running(2)
    with worker.engine.begin() as connection:  # it runs again elsewhere
        statements.record_batch(connection, starts({task: TOKEN + 1}, worker="other"), [])
    after_the_statement(monkeypatch, worker.engine, EVENTS[event](task))
    recorded = worker.record(Batch(updates=[complete(task), complete(innocent)]))
    assert recorded.accepted == {innocent: Status.COMPLETE}
    assert (task in recorded.over) == (event != "cancel")


def test_no_statement_carries_more_than_its_limit_and_a_usual_batch_is_one(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    write = statements.record_batch

    def record_batch(connection: Connection, new: Sequence[Any], ended: Sequence[ActivityUpdate]) -> Any:
        sent.append(sum(len(json.dumps(update.result)) for update in ended))
        return write(connection, new, ended)

    monkeypatch.setattr(statements, "record_batch", record_batch)
    tasks = worker.running(5)
    sent.clear()
    size = STATEMENT_BYTES * 2 // 5
    updates = [complete(task, "x" * size) for task in tasks]
    recorded = worker.record(Batch(updates=updates, result_bytes=dict.fromkeys(tasks, size)))
    assert recorded.accepted == dict.fromkeys(tasks, Status.COMPLETE)
    assert len(sent) == 3
    assert max(sent) <= STATEMENT_BYTES
    sent.clear()
    worker.record(Batch(claims=[claim(t) for t in worker.queued(50)], updates=[complete(t) for t in tasks]))
    assert len(sent) == 1
