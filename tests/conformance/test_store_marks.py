"""What the record keeps for the queue, on every database: withdrawals, and dead letters."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, update

from agentexec.store import direct, statements
from agentexec.store.dead_letters import dead_letter_rows, dead_letter_times, unmark_dead_letters
from agentexec.store.models import Activity
from agentexec.store.reading import queue_names, withdrawals
from agentexec.store.rows import ActivityUpdate, Withdrawal
from agentexec.store.status import Status
from tests.support.record import new_activity, require_sound, row_of, starts

START, TOKEN = UUID(int=0), 7


@pytest.fixture
def queue() -> str:
    return f"marks-{uuid4().hex}"


def recorded(database: Engine, queue: str, *, running: bool) -> UUID:
    activity = new_activity(queue)
    with database.begin() as connection:
        statements.record_enqueued(connection, [activity])
        if running:
            statements.record_batch(connection, starts({activity.id: TOKEN}), [])
    return activity.id


def marked(connection: Connection, queue: str) -> list[tuple[UUID, Status, int]]:
    return [(w.id, w.status, w.fence) for w in withdrawals(connection, queue, START, 10)]


def test_a_cancel_is_a_withdrawal_until_it_is_unmarked(database: Engine, queue: str) -> None:
    waiting, running = recorded(database, queue, running=False), recorded(database, queue, running=True)
    with database.begin() as connection:
        statements.request_cancel(connection, [waiting, running], "Canceled.")
        assert queue_names(connection, [waiting, running, uuid4()]) == {waiting: queue, running: queue}
    with database.begin() as connection:
        both = withdrawals(connection, queue, START, 10)
        assert sorted(marked(connection, queue)) == sorted(
            [(waiting, Status.CANCELED, 0), (running, Status.RUNNING, TOKEN)]
        )
        first, second = (w.id for w in both)
        assert [w.id for w in withdrawals(connection, queue, first, 10)] == [second]
        assert [w.id for w in withdrawals(connection, queue, START, 1)] == [first]
        statements.unmark_withdrawals(connection, [w for w in both if w.id == waiting])
        assert marked(connection, queue) == [(running, Status.RUNNING, TOKEN)]
        assert withdrawals(connection, "another queue", START, 10) == []


def test_a_withdrawal_that_was_requested_again_stays(database: Engine, queue: str) -> None:
    task = recorded(database, queue, running=False)
    with database.begin() as connection:
        statements.request_cancel(connection, [task], "Canceled.")
        first = withdrawals(connection, queue, START, 10)
    while marks(database, queue) == first:  # its dispatch was late; SQLite's clock counts milliseconds
        with database.begin() as connection:
            connection.execute(update(Activity).where(Activity.id == task).values(dispatched_at=None))
            statements.mark_dispatched(connection, [task])
    with database.begin() as connection:
        statements.unmark_withdrawals(connection, first)
        assert [w.id for w in withdrawals(connection, queue, START, 10)] == [task]


def marks(database: Engine, queue: str) -> list[Withdrawal]:
    with database.connect() as connection:
        return withdrawals(connection, queue, START, 10)


@pytest.mark.parametrize("running", [True, False])
def test_an_activity_that_others_end_is_a_withdrawal(database: Engine, queue: str, running: bool) -> None:
    task = recorded(database, queue, running=running)
    with database.begin() as connection:
        found = direct.lock(connection, task)
        assert found is not None
        direct.end(connection, found, Status.ERROR, "Given up.", None)
        assert [w.id for w in withdrawals(connection, queue, START, 10)] == [task]
        assert dead_letter_times(connection, queue) == {}


def test_a_manual_activity_is_neither(database: Engine) -> None:
    task = recorded(database, direct.BY_HAND, running=False)
    with database.begin() as connection:
        before = marked(connection, direct.BY_HAND)
        statements.request_cancel(connection, [task], "Canceled.")
        assert marked(connection, direct.BY_HAND) == before


@pytest.mark.parametrize("cause", ["failed", "crashed", "found"])
def test_a_dead_letter_is_marked_with_its_error(database: Engine, queue: str, cause: str) -> None:
    task, other = recorded(database, queue, running=True), recorded(database, queue, running=True)
    with database.begin() as connection:
        if cause == "failed":
            end = ActivityUpdate(
                id=task, token=TOKEN, n=1, status=Status.ERROR, message="Failed.", error="no"
            )
            statements.record_batch(connection, [], [end])
        elif cause == "crashed":
            statements.record_revoked(connection, {task: TOKEN}, Status.ERROR, "Dead-lettered: no.", "no")
        else:
            assert statements.record_dead_letters(connection, {task: "no"}) == {task: "task"}
            assert statements.record_dead_letters(connection, {task: "no"}) == {}
    require_sound(row_of(database, task))
    with database.begin() as connection:
        (died_at,) = dead_letter_times(connection, queue).values()
        ((row, since),) = dead_letter_rows(connection, queue, [task, other])
        assert (row.id, row.agent_type, row.priority, row.error, since) == (task, "task", 1, "no", died_at)
        assert row.context == {"text": "why? \N{SNOWMAN}"}
        assert died_at.tzinfo is not None
        assert unmark_dead_letters(connection, queue, [task, other]) == {task}
        assert dead_letter_times(connection, queue) == {}


def test_a_crashed_task_with_a_cancel_request_is_canceled_and_no_dead_letter(
    database: Engine, queue: str
) -> None:
    task = recorded(database, queue, running=True)
    with database.begin() as connection:
        statements.request_cancel(connection, [task], "Canceled.")
        statements.record_revoked(connection, {task: TOKEN}, Status.ERROR, "Dead-lettered: no.", "no")
        assert dead_letter_times(connection, queue) == {}
    assert row_of(database, task).status == "canceled"


def test_the_latest_dead_letters_come_first(database: Engine, queue: str) -> None:
    tasks = [recorded(database, queue, running=True) for _ in range(3)]
    for task in tasks:
        with database.begin() as connection:
            statements.record_dead_letters(connection, {task: "no"})
    with database.begin() as connection:
        found = list(dead_letter_times(connection, queue))
        assert sorted(found) == sorted(tasks)
        assert len(dead_letter_times(connection, queue, 2)) == 2
